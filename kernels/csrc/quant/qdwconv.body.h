/* Quantised depthwise kernels over simd.h and requant.h: vectors run over channels. Bytes are multiplied as floats,
 * whose multiply-adds are as wide as those of 16-bit integers and need no pairs of taps side by side; sums are exact.
 */
#ifndef LT_QDWCONV_BODY_H
#define LT_QDWCONV_BODY_H

#include "quant/qdwconv.h"
#include "quant/requant.h"

/* Unsigned bytes as floats. */
LT_INLINE vf qdw_load(const lt_qdw_run *r, const uint8_t *p, int64_t lanes, const int PART) {
  return vf_from_vi(vi_xor(vi_load_bytes(p, 0, PART ? lanes : LT_VL), vi_set1(r->flip)));
}

LT_INLINE vf qdw_floats(const float *p, int64_t lanes, const int PART) {
  return PART ? vf_load_n(p, lanes) : vf_load(p);
}

LT_INLINE void qdw_finish(const lt_qdw_run *r, vi acc, int64_t c, int64_t lanes, const int PART) {
  const int64_t n = PART ? lanes : LT_VL;
  const vf scale = qdw_floats(r->scale + c, lanes, PART);
  if (r->bias) acc = vi_add(acc, PART ? vi_load_n(r->bias + c, lanes) : vi_load(r->bias + c));
  const vi q = vi_requantise(acc, scale, vf_set1(r->lo), vf_set1(r->hi), vi_set1(r->y_zero));
  vi_store_bytes(r->y + c, q, n);
}

/* One pixel, any taps: sums move to integers before they could be rounded. */
LT_INLINE void qdw_pixel_tile(const lt_qdw_run *r, int64_t c, int64_t lanes, const int CV, const int PART) {
  vi acc[4];
#pragma GCC unroll 4
  for (int v = 0; v < CV; v++) acc[v] = vi_set1(0);
  const vf zero = vf_set1(r->x_zero);
  for (int64_t kh = r->kh0; kh < r->kh1; kh++) {
    for (int64_t first = r->kw0; first < r->kw1; first += LT_QDW_EXACT) {
      const int64_t end = r->kw1 - first < LT_QDW_EXACT ? r->kw1 : first + LT_QDW_EXACT;
      vf sum[4];
#pragma GCC unroll 4
      for (int v = 0; v < CV; v++) sum[v] = vf_zero();
      for (int64_t kw = first; kw < end; kw++) {
        const uint8_t *x = r->x + kh * r->row + kw * r->col + c;
        const float *w = r->w + (kh * r->kw + kw) * r->wc + c;
#pragma GCC unroll 4
        for (int v = 0; v < CV; v++)
          sum[v] = vf_fma(vf_sub(qdw_load(r, x + v * LT_VL, lanes, PART), zero), qdw_floats(w + v * LT_VL, lanes, PART),
                          sum[v]);
      }
#pragma GCC unroll 4
      for (int v = 0; v < CV; v++) acc[v] = vi_add(acc[v], vi_from_vf(sum[v]));
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < CV; v++) qdw_finish(r, acc[v], c + v * LT_VL, lanes, PART);
}

void LT_FN(lt_qdw_pixel)(const lt_qdw_run *r) {
  int64_t c = 0;
  for (; c + 4 * LT_VL <= r->c; c += 4 * LT_VL) qdw_pixel_tile(r, c, LT_VL, 4, 0);
  for (; c + LT_VL <= r->c; c += LT_VL) qdw_pixel_tile(r, c, LT_VL, 1, 0);
  if (c < r->c) qdw_pixel_tile(r, c, r->c - c, 1, 1);
}

#endif
