/* The table lookup on a row of bytes, which other kernels use as their last step. x may be y. */
#ifndef LT_LOOKUP_H
#define LT_LOOKUP_H

#include <stdint.h>

typedef void lt_lookup_row_fn(const uint8_t *x, const uint8_t *table, uint8_t *y, int64_t n);

extern lt_lookup_row_fn lt_lookup_row_scalar, lt_lookup_row_avx2, lt_lookup_row_avx512, lt_lookup_row_neon;
extern lt_lookup_row_fn *const lt_lookup_rows[]; /* by ISA */

#endif
