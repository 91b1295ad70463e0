/* Softmax in three passes: maximum; exponentials and their sum; scaling. A row with a NaN or without a finite maximum
 * becomes NaN through the arithmetic itself, as in NumPy. */
#include "eltwise/softmax.h"
#include "simd/simd_math.h"

LT_INLINE float row_max(const float *x, int64_t n) {
  vf m = vf_set1(-INFINITY), m1 = m;
  int64_t i = 0;
  for (; i + 2 * LT_VL <= n; i += 2 * LT_VL) {
    m = vf_max(vf_load(x + i), m);
    m1 = vf_max(vf_load(x + i + LT_VL), m1);
  }
  float best = vf_hmax(vf_max(m, m1));
  for (; i < n; i++) best = x[i] > best ? x[i] : best;
  return best;
}

/* The first n lanes of v, and zeros. */
LT_INLINE vf first_lanes(vf v, int64_t n) {
  float lane[LT_VL];
  vf_store(lane, v);
  return vf_load_n(lane, n);
}

/* The sum of e^(x - shift); the exponentials are kept in y unless it is null. */
LT_INLINE float row_exp_sum(const float *x, float *y, int64_t n, float shift) {
  const vf s = vf_set1(shift);
  vf sum = vf_zero(), sum1 = sum;
  int64_t i = 0;
  for (; i + 2 * LT_VL <= n; i += 2 * LT_VL) {
    vf e = vf_exp(vf_sub(vf_load(x + i), s)), e1 = vf_exp(vf_sub(vf_load(x + i + LT_VL), s));
    sum = vf_add(sum, e);
    sum1 = vf_add(sum1, e1);
    if (y) {
      vf_store(y + i, e);
      vf_store(y + i + LT_VL, e1);
    }
  }
  for (; i < n; i += LT_VL) {
    const int64_t m = n - i < LT_VL ? n - i : LT_VL;
    vf e = vf_exp(vf_sub(vf_load_n(x + i, m), s));
    sum = vf_add(sum, first_lanes(e, m));
    if (y) vf_store_n(y + i, e, m);
  }
  return vf_hsum(vf_add(sum, sum1));
}

void LT_FN(lt_softmax_rows)(void *context, int64_t begin, int64_t end) {
  const lt_softmax_args *args = context;
  const int64_t n = args->count;
  for (int64_t row = begin; row < end; row++) {
    const float *x = (const float *)args->x + row * n;
    float *y = (float *)args->y + row * n;
    const float top = row_max(x, n);
    /* y = x - (max + log sum), or e^(x - max) / sum: one multiply and one add for both */
    const float sum = row_exp_sum(x, args->log ? 0 : y, n, top);
    const float *from = args->log ? x : y;
    const vf shift = vf_set1(args->log ? top : 0.0f), scale = vf_set1(args->log ? 1.0f : 1.0f / sum);
    const vf drop = vf_set1(args->log ? logf(sum) : 0.0f);
    for (int64_t i = 0; i < n; i += LT_VL) {
      const int64_t m = n - i < LT_VL ? n - i : LT_VL;
      vf v = m == LT_VL ? vf_load(from + i) : vf_load_n(from + i, m);
      v = vf_sub(vf_mul(vf_sub(v, shift), scale), drop);
      if (m == LT_VL)
        vf_store(y + i, v);
      else
        vf_store_n(y + i, v, m);
    }
  }
}

/* Columns [0, width) of one strip, `pitch` elements from row to row; width <= LT_VL. */
LT_INLINE void column_vector(const float *x, float *y, int64_t count, int64_t pitch, int64_t width, int64_t log) {
  vf top = vf_set1(-INFINITY), sum = vf_zero();
  for (int64_t r = 0; r < count; r++) top = vf_max(vf_load_n(x + r * pitch, width), top);
  for (int64_t r = 0; r < count; r++) {
    vf e = vf_exp(vf_sub(vf_load_n(x + r * pitch, width), top));
    sum = vf_add(sum, e);
    if (!log) vf_store_n(y + r * pitch, e, width);
  }
  const vf scale = vf_div(vf_set1(1.0f), sum), drop = vf_log(sum);
  for (int64_t r = 0; r < count; r++) {
    vf v = log ? vf_sub(vf_sub(vf_load_n(x + r * pitch, width), top), drop)
               : vf_mul(vf_load_n(y + r * pitch, width), scale);
    vf_store_n(y + r * pitch, v, width);
  }
}

void LT_FN(lt_softmax_columns)(void *context, int64_t begin, int64_t end) {
  const lt_softmax_args *args = context;
  const int64_t strips = lt_softmax_strips(args->inner);
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t first = unit % strips * LT_SOFTMAX_STRIP, base = unit / strips * args->count * args->inner;
    const int64_t left = args->inner - first, width = left < LT_SOFTMAX_STRIP ? left : LT_SOFTMAX_STRIP;
    for (int64_t i = 0; i < width; i += LT_VL) {
      const float *x = (const float *)args->x + base + first + i;
      float *y = (float *)args->y + base + first + i;
      if (width - i >= LT_VL)
        column_vector(x, y, args->count, args->inner, LT_VL, args->log);
      else
        column_vector(x, y, args->count, args->inner, width - i, args->log);
    }
  }
}
