/* Normalisation over neighbouring channels, which are consecutive: the squares of a block of channels go to the stack
 * with zeros beyond the ends, and windows of them are added up a vector of channels at a time. */
#include "eltwise/lrn.h"
#include "simd/simd_math.h"

/* base^-beta; the usual exponents need no logarithm. */
LT_INLINE vf power(vf base, float beta) {
  const vf one = vf_set1(1.0f);
  if (beta == 0.75f) {
    const vf root = vf_sqrt(base);
    return vf_div(one, vf_mul(root, vf_sqrt(root)));
  }
  if (beta == 0.5f) return vf_div(one, vf_sqrt(base));
  if (beta == 1.0f) return vf_div(one, base);
  return vf_exp(vf_mul(vf_set1(-beta), vf_log(base)));
}

/* Squares of channels [from, to) of a row of n, zero beyond its ends. */
LT_INLINE void squares(const float *x, int64_t n, int64_t from, int64_t to, float *squared) {
  int64_t c = from;
  for (; c < to && c < 0; c++) *squared++ = 0.0f;
  const int64_t inside = to < n ? to : n;
  for (; c < inside; c += LT_VL) {
    const int64_t count = inside - c < LT_VL ? inside - c : LT_VL;
    const vf v = vf_load_n(x + c, count);
    vf_store_n(squared, vf_mul(v, v), count);
    squared += count;
  }
  for (c = inside > from ? inside : from; c < to; c++)
    if (c >= 0) *squared++ = 0.0f;
}

void LT_FN(lt_lrn)(void *context, int64_t begin, int64_t end) {
  const lt_lrn_args *args = context;
  const int64_t n = args->count, window = args->window, before = (window - 1) / 2, after = window / 2;
  const vf bias = vf_set1((float)args->bias), share = vf_set1((float)(args->alpha / (double)window));
  float squared[LT_LRN_BLOCK + LT_LRN_MAX_WINDOW + LT_VL];
  for (int64_t row = begin; row < end; row++) {
    const float *x = (const float *)args->x + row * args->ldx;
    float *y = (float *)args->y + row * args->ldy;
    for (int64_t c0 = 0; c0 < n; c0 += LT_LRN_BLOCK) {
      const int64_t c1 = c0 + LT_LRN_BLOCK < n ? c0 + LT_LRN_BLOCK : n;
      squares(x, n, c0 - before, c1 + after, squared);
      for (int64_t c = c0; c < c1; c += LT_VL) {
        const int64_t lanes = c1 - c < LT_VL ? c1 - c : LT_VL;
        vf sum = vf_load_n(squared + (c - c0), lanes);
        for (int64_t i = 1; i < window; i++) sum = vf_add(sum, vf_load_n(squared + (c - c0) + i, lanes));
        const vf factor = power(vf_fma(share, sum, bias), (float)args->beta);
        vf_store_n(y + c, vf_mul(vf_load_n(x + c, lanes), factor), lanes);
      }
    }
  }
}
