/* Layer normalisation in two passes: mean, then the variance around it. Sums are float within a block, double across.
 */
#include "eltwise/sum.h"

LT_INLINE double row_sum(const float *x, int64_t n, int64_t op, float shift) {
  double total = 0;
  for (int64_t i = 0; i < n; i += SUM_BLOCK)
    total += block_sum(x + i, n - i < SUM_BLOCK ? n - i : SUM_BLOCK, op, shift);
  return total;
}

LT_INLINE void normalise(const lt_layer_norm_args *args, const float *x, float *y, int64_t i, int64_t n, vf mean,
                         vf factor) {
  const float *scale = args->scale, *bias = args->bias;
  vf v = vf_mul(vf_sub(vf_load_n(x + i, n), mean), factor);
  if (scale) v = vf_mul(v, vf_load_n(scale + i, n));
  if (bias) v = vf_add(v, vf_load_n(bias + i, n));
  vf_store_n(y + i, v, n);
}

void LT_FN(lt_layer_norm)(void *context, int64_t begin, int64_t end) {
  const lt_layer_norm_args *args = context;
  const int64_t n = args->count;
  for (int64_t row = begin; row < end; row++) {
    const float *x = (const float *)args->x + row * n;
    float *y = (float *)args->y + row * n;
    const float mean = (float)(row_sum(x, n, SUM_OF_X, 0) / (double)n);
    const double variance = row_sum(x, n, SUM_OF_SQUARES, mean) / (double)n;
    const float factor = (float)(1.0 / sqrt(variance + args->epsilon));
    int64_t i = 0;
    for (; i + LT_VL <= n; i += LT_VL) normalise(args, x, y, i, LT_VL, vf_set1(mean), vf_set1(factor));
    if (i < n) normalise(args, x, y, i, n - i, vf_set1(mean), vf_set1(factor));
  }
}
