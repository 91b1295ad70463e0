/* What every driver needs: bounded sizes, even shares of a range, and the function of each ISA. */
#ifndef LT_SPLIT_H
#define LT_SPLIT_H

#include <stdint.h>

#include "cpu/cpu.h"
#include "luthier/lt_ops.h"

/* More elements than any array has; sums of a few such numbers do not overflow. */
#define LT_MAX_ELEMENTS ((int64_t)1 << 40)

/* The product of n sizes, or -1 if one is negative or the product exceeds LT_MAX_ELEMENTS. */
int64_t lt_product(const int64_t *dims, int n);

/* Whether the product of these sizes exists in that sense: LT_FITS(rows, columns). */
#define LT_FITS(...) \
  (lt_product((const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)) >= 0)

/* Computes the units [begin, end) of an operator. */
typedef void lt_part_fn(void *context, int64_t begin, int64_t end);

/* Call fn on consecutive ranges that cover [0, count), on at most `threads` threads. `cost` is the number of elements
 * that a unit touches: work that is too small to share stays on the caller. */
void lt_split(int64_t threads, int64_t count, int64_t cost, lt_part_fn *fn, void *context);

/* LT_PARTS(lt_unary) declares lt_unary_scalar, lt_unary_avx2, ... and lists them by ISA in lt_unary_parts. */
#define LT_PARTS(name)                                                      \
  extern lt_part_fn name##_scalar, name##_avx2, name##_avx512, name##_neon; \
  static lt_part_fn *const name##_parts[LT_ISA_COUNT] = LT_ISA_TABLE(name)

#endif
