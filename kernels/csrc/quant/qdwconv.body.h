/* Quantised depthwise kernels over simd.h and requant.h: vectors run over channels. Bytes are multiplied as floats,
 * whose multiply-adds are as wide as those of 16-bit integers and need no pairs of taps side by side; sums are exact.
 */
#ifndef LT_QDWCONV_BODY_H
#define LT_QDWCONV_BODY_H

#include "dwconv/dwconv.variants.h"
#include "quant/qdwconv.h"
#include "quant/requant.h"

/* Unsigned bytes as floats. */
LT_INLINE vf qdw_load(const lt_qdw_run *r, const uint8_t *p, int64_t lanes, const int PART) {
  return vf_from_vi(vi_xor(vi_load_bytes(p, 0, PART ? lanes : LT_VL), vi_set1(r->flip)));
}

LT_INLINE vf qdw_floats(const float *p, int64_t lanes, const int PART) {
  return PART ? vf_load_n(p, lanes) : vf_load(p);
}

LT_INLINE void qdw_finish(const lt_qdw_run *r, vi acc, int64_t pixel, int64_t c, int64_t lanes, const int PART) {
  const int64_t n = PART ? lanes : LT_VL;
  const vf scale = qdw_floats(r->scale + c, lanes, PART);
  if (r->bias) acc = vi_add(acc, PART ? vi_load_n(r->bias + c, lanes) : vi_load(r->bias + c));
  vi q = vi_requantise(acc, scale, vf_set1(r->lo), vf_set1(r->hi), vi_set1(r->y_zero));
  if (r->residual) {
    const uint8_t *p = r->residual + pixel * r->ldr + c;
    const vi other = r->r_signed ? vi_load_bytes(p, 1, n) : vi_load_bytes(p, 0, n);
    const vf own = vf_set1(r->y_ratio), theirs = vf_set1(r->r_ratio), offset = vf_set1(r->sum_offset);
    const vf lo = vf_set1(r->sum_lo), hi = vf_set1(r->sum_hi);
    q = r->r_first ? vi_quantised_add(other, theirs, q, own, offset, lo, hi)
                   : vi_quantised_add(q, own, other, theirs, offset, lo, hi);
  }
  vi_store_bytes(r->y + pixel * r->ldy + c, q, n);
}

/* OWT neighbouring pixels by CV vectors from channel c on, all KW columns inside the image: each input vector is loaded
 * once for all the outputs of its row that it meets, and the zero point of x is subtracted from the whole sum. PART:
 * the only vector has just `lanes` lanes. */
LT_INLINE void qdw_tile(const lt_qdw_run *r, int64_t c, int64_t lanes, const int KW, const int S, const int OWT,
                        const int CV, const int PART) {
  vf acc[LT_QDW_MAX_OWT][2], sums[2];
#pragma GCC unroll 2
  for (int v = 0; v < CV; v++) {
    sums[v] = vf_zero();
#pragma GCC unroll 8
    for (int o = 0; o < OWT; o++) acc[o][v] = vf_zero();
  }
  const uint8_t *x = r->x + r->kh0 * r->row + c;
  const float *w = r->w + r->kh0 * (KW + 1) * r->wc + c;
  for (int64_t kh = r->kh0; kh < r->kh1; kh++, x += r->row, w += (KW + 1) * r->wc) {
    vf wv[5][2];
#pragma GCC unroll 2
    for (int v = 0; v < CV; v++) {
      sums[v] = vf_add(sums[v], qdw_floats(w + KW * r->wc + v * LT_VL, lanes, PART));
#pragma GCC unroll 5
      for (int k = 0; k < KW; k++) wv[k][v] = qdw_floats(w + k * r->wc + v * LT_VL, lanes, PART);
    }
#pragma GCC unroll 24
    for (int i = 0; i < (OWT - 1) * S + KW; i++) {
#pragma GCC unroll 2
      for (int v = 0; v < CV; v++) {
        const vf xv = qdw_load(r, x + i * r->ldx + v * LT_VL, lanes, PART);
#pragma GCC unroll 5
        for (int k = 0; k < KW; k++) {
          if (i >= k && (i - k) % S == 0 && (i - k) / S < OWT)
            acc[(i - k) / S][v] = vf_fma(xv, wv[k][v], acc[(i - k) / S][v]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < CV; v++) {
    const vf shift = vf_mul(sums[v], vf_set1(-r->x_zero));
#pragma GCC unroll 8
    for (int o = 0; o < OWT; o++) qdw_finish(r, vi_from_vf(vf_add(acc[o][v], shift)), o, c + v * LT_VL, lanes, PART);
  }
}

LT_INLINE void qdw_channels(const lt_qdw_run *r, const int KW, const int S, const int OWT, const int CV) {
  int64_t c = 0;
  for (; c + CV * LT_VL <= r->c; c += CV * LT_VL) qdw_tile(r, c, LT_VL, KW, S, OWT, CV, 0);
  if (CV > 1 && c + LT_VL <= r->c) {
    qdw_tile(r, c, LT_VL, KW, S, OWT, 1, 0);
    c += LT_VL;
  }
  if (c < r->c) qdw_tile(r, c, r->c - c, KW, S, OWT, 1, 1);
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
        const float *w = r->w + (kh * (r->kw + 1) + kw) * r->wc + c;
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
  for (int v = 0; v < CV; v++) qdw_finish(r, acc[v], 0, c + v * LT_VL, lanes, PART);
}

void LT_FN(lt_qdw_pixel)(const lt_qdw_run *r) {
  int64_t c = 0;
  for (; c + 4 * LT_VL <= r->c; c += 4 * LT_VL) qdw_pixel_tile(r, c, LT_VL, 4, 0);
  for (; c + LT_VL <= r->c; c += LT_VL) qdw_pixel_tile(r, c, LT_VL, 1, 0);
  if (c < r->c) qdw_pixel_tile(r, c, r->c - c, 1, 1);
}

#define LT_DEFINE(KW, S, OWT, CV) \
  static void qdw_##KW##_##S##_##OWT##_##CV(const lt_qdw_run *r) { qdw_channels(r, KW, S, OWT, CV); }
LT_CAT(LT_DW_VARIANTS_, LT_ISA_NAME)(LT_DEFINE)

    lt_qdw_fn LT_FN(lt_qdw_kernel)(int64_t kw, int64_t s, int64_t owt, int64_t cv) {
  static const lt_qdw_fn table[6][3][LT_QDW_MAX_OWT + 1][3] = {
#define LT_ENTRY(KW, S, OWT, CV) [KW][S][OWT][CV] = qdw_##KW##_##S##_##OWT##_##CV,
      LT_CAT(LT_DW_VARIANTS_, LT_ISA_NAME)(LT_ENTRY)};
  if (kw < 1 || kw > 5 || s < 1 || s > 2 || owt < 1 || owt > LT_QDW_MAX_OWT || cv < 1 || cv > 2) return 0;
  return table[kw][s][owt][cv];
}

#endif
