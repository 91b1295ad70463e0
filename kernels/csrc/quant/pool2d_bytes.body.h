/* Pooling of channels-last bytes, a vector of channels after the other. */
#include "pool/pool2d.h"
#include "quant/requant.h"

/* The part of a window that lies inside the image. */
typedef struct {
  const uint8_t *x; /* its first tap */
  int64_t rows, cols;
  int64_t row_step, col_step; /* from tap to tap */
  float divisor;              /* of an average */
} qpool_window;

/* The averages of `vectors` vectors of channels from i on; n < LT_VL only with one. */
LT_INLINE void qpool_vectors(const lt_pool2d_args *a, const qpool_window *w, uint8_t *y, int64_t i, int64_t n,
                             int vectors) {
  const int is_signed = a->type == LT_I8;
  const vf scale = vf_set1((float)a->x_scale), y_scale = vf_set1((float)a->y_scale);
  const vf y_zero = vf_set1((float)a->y_zero), divisor = vf_set1(w->divisor);
  const vf lo = vf_set1(is_signed ? -128.0f : 0.0f), hi = vf_set1(is_signed ? 127.0f : 255.0f);
  const vi flip = vi_set1(is_signed ? 0x80 : 0);
  const vi zero = vi_add(vi_set1((int32_t)a->x_zero), flip);
  vf acc[4];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) acc[v] = vf_zero();
  for (int64_t r = 0; r < w->rows; r++)
    for (int64_t c = 0; c < w->cols; c++) {
      const uint8_t *x = w->x + r * w->row_step + c * w->col_step + i;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) {
        const vi tap = vi_xor(vi_load_bytes(x + v * LT_VL, 0, n), flip);
        acc[v] = vf_add(acc[v], vf_mul(vf_from_vi(vi_sub(tap, zero)), scale));
      }
    }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) {
    const vf mean = vf_add(vf_div(vf_div(acc[v], divisor), y_scale), y_zero);
    vi_store_bytes(y + i + v * LT_VL, vi_from_vf(vf_min(hi, vf_max(lo, mean))), n);
  }
}

LT_INLINE void qpool_average(const lt_pool2d_args *a, const qpool_window *w, uint8_t *y) {
  int64_t i = 0;
  for (; i + 4 * LT_VL <= a->c; i += 4 * LT_VL) qpool_vectors(a, w, y, i, LT_VL, 4);
  for (; i + LT_VL <= a->c; i += LT_VL) qpool_vectors(a, w, y, i, LT_VL, 1);
  if (i < a->c) qpool_vectors(a, w, y, i, a->c - i, 1);
}

/* Bytes are compared unsigned, n at a time; the maximum over nothing is the least one. Of a->c >= n channels, a last
 * vector that would be partly empty starts earlier instead. */
LT_INLINE void qpool_max(const lt_pool2d_args *a, const qpool_window *w, uint8_t *y, int64_t n) {
  const vp flip = vp_set1(a->type == LT_I8 ? 0x80 : 0);
  for (int64_t start = 0; start < a->c; start += n) {
    const int64_t i = start < a->c - n ? start : a->c - n;
    vp max = vp_set1(0);
    for (int64_t r = 0; r < w->rows; r++)
      for (int64_t c = 0; c < w->cols; c++)
        max = vp_max(max, vp_xor(vp_get(w->x + r * w->row_step + c * w->col_step + i, n), flip));
    vp_put(y + i, vp_xor(max, flip), n);
  }
}

LT_INLINE void qpool_row(const lt_pool2d_args *a, int64_t row, int average) {
  const int64_t oy = row % a->oh, y0 = oy * a->sh - a->pt;
  const lt_taps ty = lt_pool_taps(y0, a->kh, a->dh, a->ih);
  const lt_taps counted_y = lt_pool_taps(oy * a->sh, a->kh, a->dh, a->ih + a->pt + a->pb);
  const uint8_t *image = (const uint8_t *)a->x + row / a->oh * a->ih * a->iw * a->ldx;
  uint8_t *y = (uint8_t *)a->y + row * a->ow * a->ldy;
  for (int64_t ox = 0; ox < a->ow; ox++, y += a->ldy) {
    const int64_t x0 = ox * a->sw - a->pl;
    const lt_taps tx = lt_pool_taps(x0, a->kw, a->dw, a->iw);
    const lt_taps counted_x = lt_pool_taps(ox * a->sw, a->kw, a->dw, a->iw + a->pl + a->pr);
    qpool_window w = {
        .x = image + ((y0 + ty.first * a->dh) * a->iw + x0 + tx.first * a->dw) * a->ldx,
        .rows = ty.last - ty.first,
        .cols = tx.last - tx.first,
        .row_step = a->dh * a->iw * a->ldx,
        .col_step = a->dw * a->ldx,
    };
    const int64_t count = a->mode == LT_POOL_AVERAGE
                              ? w.rows * w.cols
                              : (counted_y.last - counted_y.first) * (counted_x.last - counted_x.first);
    w.divisor = count ? (float)count : 1.0f; /* an average over nothing is 0 */
    if (average)
      qpool_average(a, &w, y);
    else if (a->c < (int64_t)sizeof(vp))
      qpool_max(a, &w, y, a->c);
    else
      qpool_max(a, &w, y, sizeof(vp));
  }
}

void LT_FN(lt_pool2d_bytes)(void *context, int64_t begin, int64_t end) {
  const lt_pool2d_args *a = context;
  for (int64_t row = begin; row < end; row++)
    if (a->mode == LT_POOL_MAX)
      qpool_row(a, row, 0);
    else
      qpool_row(a, row, 1);
}
