/* Depthwise kernels over simd.h names: vectors run over channels. */
#ifndef LT_DWCONV_BODY_H
#define LT_DWCONV_BODY_H

#include "dwconv.h"
#include "dwconv.variants.h"
#include "keep.h"
#include "simd/simd_math.h"

LT_INLINE vf lt_dw_load(const float *p, int64_t lanes, const int PART) {
  return PART ? vf_load_n(p, lanes) : vf_load(p);
}

/* The bias is added last: a large one would cost every partial sum digits. */
LT_INLINE vf lt_dw_bias(const lt_dw_run *r, int64_t c, int64_t lanes, const int PART) {
  return r->bias ? lt_dw_load(r->bias + c, lanes, PART) : vf_zero();
}

/* Activate and store sums of one vector of channels, of OWT neighbouring pixels; `act` is a constant. */
LT_INLINE void lt_dw_store(const lt_dw_run *r, const vf *sum, int64_t c, int64_t lanes, const int OWT, const int PART,
                           const int64_t act) {
#pragma GCC unroll 8
  for (int o = 0; o < OWT; o++) {
    const vf v = vf_act(sum[o], act, r->lo, r->hi);
    if (PART) {
      vf_store_n(r->y + o * r->ldy + c, v, lanes);
    } else {
      vf_store(r->y + o * r->ldy + c, v);
    }
  }
}

LT_INLINE void lt_dw_finish(const lt_dw_run *r, vf *sum, int64_t c, int64_t lanes, const int OWT, const int PART) {
  const vf bias = lt_dw_bias(r, c, lanes, PART);
#pragma GCC unroll 8
  for (int o = 0; o < OWT; o++) sum[o] = vf_add(sum[o], bias);
  if (r->residual) {
#pragma GCC unroll 8
    for (int o = 0; o < OWT; o++) sum[o] = vf_add(sum[o], lt_dw_load(r->residual + o * r->ldr + c, lanes, PART));
  }
  switch (r->act) {
    case LT_ACT_HARD_SWISH: lt_dw_store(r, sum, c, lanes, OWT, PART, LT_ACT_HARD_SWISH); break;
    case LT_ACT_SILU: lt_dw_store(r, sum, c, lanes, OWT, PART, LT_ACT_SILU); break;
    default: lt_dw_store(r, sum, c, lanes, OWT, PART, LT_ACT_CLIP);
  }
}

/* OWT neighbouring pixels by CV vectors from channel c on, all KW columns inside the image: each input vector is loaded
 * once for all the outputs of its row that it meets. PART: the only vector has just `lanes` lanes. */
LT_INLINE void lt_dw_tile(const lt_dw_run *r, int64_t c, int64_t lanes, const int KW, const int S, const int OWT,
                          const int CV, const int PART) {
  vf acc[2][LT_DW_MAX_OWT];
#pragma GCC unroll 2
  for (int v = 0; v < CV; v++) {
#pragma GCC unroll 8
    for (int o = 0; o < OWT; o++) acc[v][o] = vf_zero();
  }
  const float *x = r->x + r->kh0 * r->row + c, *w = r->w + r->kh0 * KW * r->wc + c;
  for (int64_t kh = r->kh0; kh < r->kh1; kh++, x += r->row, w += KW * r->wc) {
    vf wv[5][2];
#pragma GCC unroll 5
    for (int k = 0; k < KW; k++) {
#pragma GCC unroll 2
      for (int v = 0; v < CV; v++) wv[k][v] = lt_dw_load(w + k * r->wc + v * LT_VL, lanes, PART);
    }
#pragma GCC unroll 24
    for (int i = 0; i < (OWT - 1) * S + KW; i++) {
#pragma GCC unroll 2
      for (int v = 0; v < CV; v++) {
        vf xv = lt_dw_load(x + i * r->ldx + v * LT_VL, lanes, PART);
#pragma GCC unroll 5
        for (int k = 0; k < KW; k++) {
          if (i >= k && (i - k) % S == 0 && (i - k) / S < OWT)
            acc[v][(i - k) / S] = vf_fma(xv, wv[k][v], acc[v][(i - k) / S]);
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int v = 0; v < CV; v++) lt_dw_finish(r, acc[v], c + v * LT_VL, lanes, OWT, PART);
}

LT_INLINE void lt_dw_channels(const lt_dw_run *r, const int KW, const int S, const int OWT, const int CV) {
  int64_t c = 0;
  for (; c + CV * LT_VL <= r->c; c += CV * LT_VL) lt_dw_tile(r, c, LT_VL, KW, S, OWT, CV, 0);
  if (CV > 1 && c + LT_VL <= r->c) {
    lt_dw_tile(r, c, LT_VL, KW, S, OWT, 1, 0);
    c += LT_VL;
  }
  if (c < r->c) lt_dw_tile(r, c, r->c - c, KW, S, OWT, 1, 1);
}

/* One pixel, any taps: four vectors at a time hide the latency of fma. */
LT_INLINE void lt_dw_pixel_tile(const lt_dw_run *r, int64_t c, int64_t lanes, const int CV, const int PART) {
  vf acc[4];
#pragma GCC unroll 4
  for (int v = 0; v < CV; v++) acc[v] = vf_zero();
  for (int64_t kh = r->kh0; kh < r->kh1; kh++) {
    for (int64_t kw = r->kw0; kw < r->kw1; kw++) {
      const float *x = r->x + kh * r->row + kw * r->col + c, *w = r->w + (kh * r->kw + kw) * r->wc + c;
#pragma GCC unroll 4
      for (int v = 0; v < CV; v++)
        acc[v] = vf_fma(lt_dw_load(x + v * LT_VL, lanes, PART), lt_dw_load(w + v * LT_VL, lanes, PART), acc[v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < CV; v++) lt_dw_finish(r, acc + v, c + v * LT_VL, lanes, 1, PART);
}

void LT_FN(lt_dw_pixel)(const lt_dw_run *r) {
  int64_t c = 0;
  for (; c + 4 * LT_VL <= r->c; c += 4 * LT_VL) lt_dw_pixel_tile(r, c, LT_VL, 4, 0);
  for (; c + LT_VL <= r->c; c += LT_VL) lt_dw_pixel_tile(r, c, LT_VL, 1, 0);
  if (c < r->c) lt_dw_pixel_tile(r, c, r->c - c, 1, 1);
}

#define LT_DEFINE(KW, S, OWT, CV) \
  static void dw_##KW##_##S##_##OWT##_##CV(const lt_dw_run *r) { lt_dw_channels(r, KW, S, OWT, CV); }
LT_CAT(LT_DW_VARIANTS_, LT_ISA_NAME)(LT_DEFINE)

    lt_dw_fn LT_FN(lt_dw_kernel)(int64_t kw, int64_t s, int64_t owt, int64_t cv) {
  static const lt_dw_fn table[6][3][LT_DW_MAX_OWT + 1][3] = {
#define LT_ENTRY(KW, S, OWT, CV) \
  [KW][S][OWT][CV] = LT_KEEP(LT_WITHOUT_DW_##KW##_##S##_##CV, dw_##KW##_##S##_##OWT##_##CV),
      LT_CAT(LT_DW_VARIANTS_, LT_ISA_NAME)(LT_ENTRY)};
  if (kw < 1 || kw > 5 || s < 1 || s > 2 || owt < 1 || owt > LT_DW_MAX_OWT || cv < 1 || cv > 2) return 0;
  return table[kw][s][owt][cv];
}

#endif
