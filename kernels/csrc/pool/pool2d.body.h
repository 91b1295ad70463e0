/* Pooling of channels-last images, one output row after the other, vectorised over channels. */
#include "pool/pool2d.h"
#include "simd/simd_math.h"

/* The part of a window that lies inside the image. */
typedef struct {
  const float *x; /* its first tap */
  int64_t rows, cols;
  int64_t row_step, col_step; /* from tap to tap, in elements */
  float divisor;              /* of an average */
} pool_window;

/* `vectors` vectors of channels; n < LT_VL only with one vector. Averages if `average`. Everything but the window is a
 * constant wherever this is inlined, and for small windows rows and cols are as well. */
LT_INLINE void pool_vectors(const pool_window *w, int64_t rows, int64_t cols, float *y, int64_t i, int64_t n,
                            int vectors, int average) {
  vf acc[4];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) acc[v] = average ? vf_zero() : vf_set1(-INFINITY);
#pragma GCC unroll 3
  for (int64_t r = 0; r < rows; r++)
#pragma GCC unroll 3
    for (int64_t c = 0; c < cols; c++) {
      const float *x = w->x + r * w->row_step + c * w->col_step + i;
#pragma GCC unroll 4
      for (int v = 0; v < vectors; v++) {
        const vf tap = vf_load_n(x + v * LT_VL, n);
        acc[v] = average ? vf_add(acc[v], tap) : vf_nanmax(acc[v], tap);
      }
    }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++)
    vf_store_n(y + i + v * LT_VL, average ? vf_div(acc[v], vf_set1(w->divisor)) : acc[v], n);
}

LT_INLINE void pool_pixel(const pool_window *w, int64_t rows, int64_t cols, float *y, int64_t channels, int average) {
  int64_t i = 0;
  for (; i + 4 * LT_VL <= channels; i += 4 * LT_VL) pool_vectors(w, rows, cols, y, i, LT_VL, 4, average);
  for (; i + LT_VL <= channels; i += LT_VL) pool_vectors(w, rows, cols, y, i, LT_VL, 1, average);
  if (i < channels) pool_vectors(w, rows, cols, y, i, channels - i, 1, average);
}

LT_INLINE void pool_row(const lt_pool2d_args *a, int64_t row, int average) {
  const int64_t oy = row % a->oh, y0 = oy * a->sh - a->pt;
  const lt_taps ty = lt_pool_taps(y0, a->kh, a->dh, a->ih);
  const lt_taps counted_y = lt_pool_taps(oy * a->sh, a->kh, a->dh, a->ih + a->pt + a->pb);
  const float *image = (const float *)a->x + row / a->oh * a->ih * a->iw * a->ldx;
  float *y = (float *)a->y + row * a->ow * a->ldy;
  for (int64_t ox = 0; ox < a->ow; ox++, y += a->ldy) {
    const int64_t x0 = ox * a->sw - a->pl;
    const lt_taps tx = lt_pool_taps(x0, a->kw, a->dw, a->iw);
    pool_window w = {
        .x = image + ((y0 + ty.first * a->dh) * a->iw + x0 + tx.first * a->dw) * a->ldx,
        .rows = ty.last - ty.first,
        .cols = tx.last - tx.first,
        .row_step = a->dh * a->iw * a->ldx,
        .col_step = a->dw * a->ldx,
    };
    if (average) {
      const lt_taps counted_x = lt_pool_taps(ox * a->sw, a->kw, a->dw, a->iw + a->pl + a->pr);
      const int64_t count = a->mode == LT_POOL_AVERAGE
                                ? w.rows * w.cols
                                : (counted_y.last - counted_y.first) * (counted_x.last - counted_x.first);
      w.divisor = count ? (float)count : 1.0f; /* an average over nothing is 0 */
    }
    if (w.rows == 3 && w.cols == 3)
      pool_pixel(&w, 3, 3, y, a->c, average);
    else if (w.rows == 2 && w.cols == 2)
      pool_pixel(&w, 2, 2, y, a->c, average);
    else
      pool_pixel(&w, w.rows, w.cols, y, a->c, average);
  }
}

void LT_FN(lt_pool2d)(void *context, int64_t begin, int64_t end) {
  const lt_pool2d_args *a = context;
  for (int64_t row = begin; row < end; row++)
    if (a->mode == LT_POOL_MAX)
      pool_row(a, row, 0);
    else
      pool_row(a, row, 1);
}
