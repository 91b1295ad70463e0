/* What drivers prepare for vi_quantised_add of requant.h. */
#ifndef LT_QUANT_SUM_H
#define LT_QUANT_SUM_H

#include <math.h>
#include <stdint.h>

/* y_zero less the zero points of a and b in units of y. */
static inline float lt_sum_offset(float a_ratio, int64_t a_zero, float b_ratio, int64_t b_zero, int64_t y_zero) {
  return (float)y_zero - fmaf(a_ratio, (float)a_zero, b_ratio * (float)b_zero);
}

typedef struct {
  float a_ratio, b_ratio, offset, lo, hi;
  int is_signed;
} lt_qsum;

/* y = a + b on rows of n bytes; y may be a or b. */
typedef void lt_qsum_row_fn(const lt_qsum *sum, const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t n);
extern lt_qsum_row_fn lt_qsum_row_scalar, lt_qsum_row_avx2, lt_qsum_row_avx512, lt_qsum_row_neon;

#endif
