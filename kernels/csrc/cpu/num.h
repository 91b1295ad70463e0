/* Small integer arithmetic that every driver needs. */
#ifndef LT_NUM_H
#define LT_NUM_H

#include <stdint.h>

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
/* For a >= 0 and b > 0. */
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
/* At least n floats, as an odd number of cache lines: rows so far apart do not collide in L1. */
static inline int64_t odd_lines(int64_t n) { return (ceil_div(n, 16) | 1) * 16; }

#endif
