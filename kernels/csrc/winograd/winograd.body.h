/* The transforms over simd.h names, vectorised over channels. PAIRS is a constant at every call, so that the loops
 * unroll and the coefficients are constants. */
#ifndef LT_WINOGRAD_BODY_H
#define LT_WINOGRAD_BODY_H

#include "winograd.h"

/* For each number of pairs: the points p, the coefficients of the products of (x^2 - q^2) over all other q (`rest`, one
 * row a point) and over all (`all`), lowest first. The points keep the error low (after Barabasz et al., Error Analysis
 * and Improving the Accuracy of Winograd Convolution for Deep Neural Networks, 2020) and the coefficients exact.
 * luthier.kernels.fields.WINOGRAD_POINTS has the same points. */
static const struct {
  float points[3], rest[3][3], all[4];
} lt_winograd_points[4] = {
    [1] = {{1.0f}, {{1.0f}}, {-1.0f, 1.0f}},
    [2] = {{0.75f, 1.5f}, {{-2.25f, 1.0f}, {-0.5625f, 1.0f}}, {1.265625f, -2.8125f, 1.0f}},
    [3] = {{0.5f, 1.0f, 2.0f},
           {{4.0f, -5.0f, 1.0f}, {1.0f, -4.25f, 1.0f}, {0.25f, -1.25f, 1.0f}},
           {-1.0f, 5.25f, -5.25f, 1.0f}},
};

/* One dimension of the input transform. Row +-p has the coefficients of (x^2 +- p x) rest(x^2): an even and an odd
 * part, added and subtracted. Rows 0 and infinity are all(x^2) and x all(x^2). The highest coefficients are 1. */
LT_INLINE void lt_winograd_input_line(const int PAIRS, const vf *d, vf *out) {
  const int last = 2 * PAIRS + 1;
  vf zero = d[2 * PAIRS], infinity = d[last];
#pragma GCC unroll 3
  for (int t = 0; t < PAIRS; t++) {
    const vf c = vf_set1(lt_winograd_points[PAIRS].all[t]);
    zero = vf_fma(c, d[2 * t], zero);
    infinity = vf_fma(c, d[2 * t + 1], infinity);
  }
  out[0] = zero;
  out[last] = infinity;
#pragma GCC unroll 3
  for (int i = 0; i < PAIRS; i++) {
    const float p = lt_winograd_points[PAIRS].points[i];
    vf even = d[2 * PAIRS], odd = vf_mul(vf_set1(p), d[2 * PAIRS - 1]);
#pragma GCC unroll 3
    for (int t = 0; t < PAIRS - 1; t++) {
      const float c = lt_winograd_points[PAIRS].rest[i][t];
      even = vf_fma(vf_set1(c), d[2 * t + 2], even);
      odd = vf_fma(vf_set1(p * c), d[2 * t + 1], odd);
    }
    out[2 * i + 1] = vf_add(even, odd);
    out[2 * i + 2] = vf_sub(even, odd);
  }
}

/* One dimension of the output transform: output k is the sum of s p^k over all points s, infinity only in the last. */
LT_INLINE void lt_winograd_output_line(const int PAIRS, const vf *d, vf *out) {
  vf sum[3], difference[3];
  float power[3];
#pragma GCC unroll 3
  for (int i = 0; i < PAIRS; i++) {
    sum[i] = vf_add(d[2 * i + 1], d[2 * i + 2]);
    difference[i] = vf_sub(d[2 * i + 1], d[2 * i + 2]);
    power[i] = 1.0f;
  }
  out[0] = d[0];
#pragma GCC unroll 3
  for (int i = 0; i < PAIRS; i++) out[0] = vf_add(out[0], sum[i]);
#pragma GCC unroll 5
  for (int k = 1; k < 2 * PAIRS; k++) {
#pragma GCC unroll 3
    for (int i = 0; i < PAIRS; i++) {
      power[i] *= lt_winograd_points[PAIRS].points[i];
      const vf part = k % 2 ? difference[i] : sum[i], c = vf_set1(power[i]);
      if (i == 0) {
        out[k] = k == 2 * PAIRS - 1 ? vf_fma(c, part, d[2 * PAIRS + 1]) : vf_mul(c, part);
      } else {
        out[k] = vf_fma(c, part, out[k]);
      }
    }
  }
}

/* The input transform of n channels, at most a vector. */
LT_INLINE void lt_winograd_input_vector(const int PAIRS, const float *x, int64_t row, int64_t col, float *v,
                                        int64_t stride, int64_t n) {
  const int span = 2 * PAIRS + 2;
  vf half[LT_WINOGRAD_MAX_SPAN][LT_WINOGRAD_MAX_SPAN], d[LT_WINOGRAD_MAX_SPAN], out[LT_WINOGRAD_MAX_SPAN];
  for (int j = 0; j < span; j++) {
#pragma GCC unroll 8
    for (int i = 0; i < span; i++) d[i] = n == LT_VL ? vf_load(x + i * row) : vf_load_n(x + i * row, n);
    lt_winograd_input_line(PAIRS, d, out);
#pragma GCC unroll 8
    for (int i = 0; i < span; i++) half[i][j] = out[i];
    x += col;
  }
  for (int i = 0; i < span; i++) {
    lt_winograd_input_line(PAIRS, half[i], out);
#pragma GCC unroll 8
    for (int j = 0; j < span; j++) vf_store(v + j * stride, out[j]);
    v += span * stride;
  }
}

LT_INLINE void lt_winograd_input_tile(const int PAIRS, const lt_winograd_input *t) {
  int64_t c = 0;
  for (; c + LT_VL <= t->channels; c += LT_VL)
    lt_winograd_input_vector(PAIRS, t->x + c, t->row, t->col, t->v + c, t->stride, LT_VL);
  if (c < t->channels) lt_winograd_input_vector(PAIRS, t->x + c, t->row, t->col, t->v + c, t->stride, t->channels - c);
}

/* The output transform of n channels from channel c on, at most a vector. */
LT_INLINE void lt_winograd_output_vector(const int PAIRS, const lt_winograd_output *t, int64_t c, int64_t n) {
  const int span = 2 * PAIRS + 2, size = 2 * PAIRS;
  vf half[LT_WINOGRAD_MAX_SPAN][LT_WINOGRAD_MAX_SPAN], d[LT_WINOGRAD_MAX_SPAN], out[LT_WINOGRAD_MAX_SPAN];
  const float *m = t->m + c;
  for (int j = 0; j < span; j++) {
#pragma GCC unroll 8
    for (int i = 0; i < span; i++) d[i] = vf_load(m + i * span * t->stride);
    lt_winograd_output_line(PAIRS, d, out);
#pragma GCC unroll 6
    for (int i = 0; i < size; i++) half[i][j] = out[i];
    m += t->stride;
  }
  const vf lo = vf_set1(t->lo), hi = vf_set1(t->hi);
  vf bias = vf_zero();
  if (t->bias) bias = n == LT_VL ? vf_load(t->bias + c) : vf_load_n(t->bias + c, n);
  float *y = t->y + c;
  const float *residual = t->residual ? t->residual + c : 0;
  for (int i = 0; i < t->rows; i++) {
    lt_winograd_output_line(PAIRS, half[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < size; j++) {
      if (j >= t->cols) break;
      vf r = vf_add(out[j], bias);
      if (residual) {
        const float *from = residual + j * t->residual_col;
        r = vf_add(r, n == LT_VL ? vf_load(from) : vf_load_n(from, n));
      }
      r = vf_min(hi, vf_max(lo, r));
      if (n == LT_VL) {
        vf_store(y + j * t->col, r);
      } else {
        vf_store_n(y + j * t->col, r, n);
      }
    }
    y += t->row;
    if (residual) residual += t->residual_row;
  }
}

LT_INLINE void lt_winograd_output_tile(const int PAIRS, const lt_winograd_output *t) {
  int64_t c = 0;
  for (; c + LT_VL <= t->channels; c += LT_VL) lt_winograd_output_vector(PAIRS, t, c, LT_VL);
  if (c < t->channels) lt_winograd_output_vector(PAIRS, t, c, t->channels - c);
}

static void input_1(const lt_winograd_input *t) { lt_winograd_input_tile(1, t); }
static void input_2(const lt_winograd_input *t) { lt_winograd_input_tile(2, t); }
static void input_3(const lt_winograd_input *t) { lt_winograd_input_tile(3, t); }
static void output_1(const lt_winograd_output *t) { lt_winograd_output_tile(1, t); }
static void output_2(const lt_winograd_output *t) { lt_winograd_output_tile(2, t); }
static void output_3(const lt_winograd_output *t) { lt_winograd_output_tile(3, t); }

const lt_winograd_transforms LT_FN(lt_winograd_transforms)[4] = {
    [1] = {input_1, output_1}, [2] = {input_2, output_2}, [3] = {input_3, output_3}};

#endif
