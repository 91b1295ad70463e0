/* What drivers prepare for vi_quantised_add of requant.h. */
#ifndef LT_QUANT_SUM_H
#define LT_QUANT_SUM_H

#include <math.h>
#include <stdint.h>

/* y_zero less the zero points of a and b in units of y. */
static inline float lt_sum_offset(float a_ratio, int64_t a_zero, float b_ratio, int64_t b_zero, int64_t y_zero) {
  return (float)y_zero - fmaf(a_ratio, (float)a_zero, b_ratio * (float)b_zero);
}

#endif
