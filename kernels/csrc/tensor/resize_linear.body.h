/* Bilinear resizing of a channels-last image, one output row after the other, vectorised over channels. Each
 * table holds the first neighbours (or their weights) of all rows or columns, then the second ones. */
#include "simd/simd.h"

/* n <= LT_VL channels of one output pixel. */
LT_INLINE void resize_vector(const float *corner[4], const float weight[4], float *y, int64_t i, int64_t n) {
  vf top = vf_mul(vf_set1(weight[0]), vf_load_n(corner[0] + i, n));
  vf bottom = vf_mul(vf_set1(weight[2]), vf_load_n(corner[2] + i, n));
  top = vf_fma(vf_set1(weight[1]), vf_load_n(corner[1] + i, n), top);
  bottom = vf_fma(vf_set1(weight[3]), vf_load_n(corner[3] + i, n), bottom);
  vf_store_n(y + i, vf_add(top, bottom), n);
}

void LT_FN(lt_resize_linear)(void *context, int64_t begin, int64_t end) {
  const lt_resize_linear_args *a = context;
  const int64_t *index_h = a->index_h, *index_w = a->index_w, c = a->c;
  const float *weight_h = a->weight_h, *weight_w = a->weight_w;
  for (int64_t row = begin; row < end; row++) {
    const int64_t oy = row % a->oh;
    const float *image = (const float *)a->x + row / a->oh * a->ih * a->iw * c;
    const float *above = image + index_h[oy] * a->iw * c, *below = image + index_h[a->oh + oy] * a->iw * c;
    const float wh0 = weight_h[oy], wh1 = weight_h[a->oh + oy];
    float *y = (float *)a->y + row * a->ow * c;
    for (int64_t ox = 0; ox < a->ow; ox++, y += c) {
      const int64_t left = index_w[ox] * c, right = index_w[a->ow + ox] * c;
      const float ww0 = weight_w[ox], ww1 = weight_w[a->ow + ox];
      const float *corner[4] = {above + left, above + right, below + left, below + right};
      const float weight[4] = {wh0 * ww0, wh0 * ww1, wh1 * ww0, wh1 * ww1};
      int64_t i = 0;
      for (; i + LT_VL <= c; i += LT_VL) resize_vector(corner, weight, y, i, LT_VL);
      if (i < c) resize_vector(corner, weight, y, i, c - i);
    }
  }
}
