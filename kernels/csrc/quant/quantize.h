/* What the drivers of QUANTIZE and DEQUANTIZE hand to their bodies. */
#ifndef LT_QUANTIZE_H
#define LT_QUANTIZE_H

#include <stdint.h>

/* n consecutive elements, with one scale or one each. */
typedef struct {
  int64_t n, type;
  const float *scale;
  const int32_t *zero; /* null for 0 */
  int per_element;
  int64_t y_min, y_max; /* of quantisation */
} lt_quantize_row;

typedef void lt_quantize_row_fn(const lt_quantize_row *row, const void *x, void *y);

/* The smallest and the largest of n floats and 0; NaN is skipped. */
typedef void lt_min_max_fn(const float *x, int64_t n, float *min, float *max);

#endif
