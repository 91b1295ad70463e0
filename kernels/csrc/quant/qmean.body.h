/* Means of bytes: sums of integers, requantised. */
#include "quant/requant.h"
#include "quant/qmean.h"

/* `vectors` vectors of one unit, n < LT_VL only with one. */
LT_INLINE void qmean_vectors(const lt_qmean_args *a, const uint8_t *x, uint8_t *y, int64_t n, int vectors,
                             int is_signed) {
  const float least = is_signed ? -128.0f : 0.0f, zero = (float)a->y_zero;
  vi sum[4];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) sum[v] = vi_set1((int32_t)(-a->x_zero * a->count));
  for (int64_t r = 0; r < a->count; r++) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++)
      sum[v] = vi_add(sum[v], vi_load_bytes(x + r * a->inner + v * LT_VL, is_signed, n));
  }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) {
    const vi q = vi_requantise(sum[v], vf_set1((float)a->scale), vf_set1(least - zero), vf_set1(least + 255.0f - zero),
                               vi_set1((int32_t)a->y_zero));
    vi_store_bytes(y + v * LT_VL, q, n);
  }
}

LT_INLINE void qmean_part(const lt_qmean_args *a, int64_t begin, int64_t end, int is_signed) {
  const int64_t blocks = lt_qmean_blocks(a);
  for (int64_t u = begin; u < end; u++) {
    const int64_t o = u / blocks, first = u % blocks * LT_QMEAN_BLOCK;
    const int64_t last = a->inner < first + LT_QMEAN_BLOCK ? a->inner : first + LT_QMEAN_BLOCK;
    const uint8_t *x = (const uint8_t *)a->x + o * a->count * a->inner;
    uint8_t *y = (uint8_t *)a->y + o * a->inner;
    int64_t i = first;
    for (; i + 4 * LT_VL <= last; i += 4 * LT_VL) qmean_vectors(a, x + i, y + i, LT_VL, 4, is_signed);
    for (; i + LT_VL <= last; i += LT_VL) qmean_vectors(a, x + i, y + i, LT_VL, 1, is_signed);
    if (i < last) qmean_vectors(a, x + i, y + i, last - i, 1, is_signed);
  }
}

void LT_FN(lt_qmean)(void *context, int64_t begin, int64_t end) {
  const lt_qmean_args *a = context;
  if (a->type == LT_I8)
    qmean_part(a, begin, end, 1);
  else
    qmean_part(a, begin, end, 0);
}
