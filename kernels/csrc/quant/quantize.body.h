/* Between floats and integers, a row at a time. */
#include "quant/quantize.h"
#include "quant/requant.h"
#include "quant/types.h"

/* n <= LT_VL integers of a type that is a constant wherever this is inlined. */
LT_INLINE vi quantize_load(const void *x, int64_t i, int64_t n, int64_t type) {
  if (lt_is_byte(type)) return vi_load_bytes((const uint8_t *)x + i, type == LT_I8, n);
  if (type == LT_I32) return n == LT_VL ? vi_load((const int32_t *)x + i) : vi_load_n((const int32_t *)x + i, n);
  int32_t lane[LT_VL] = {0};
  for (int64_t k = 0; k < n; k++) lane[k] = type == LT_I16 ? ((const int16_t *)x)[i + k] : ((const uint16_t *)x)[i + k];
  return vi_load(lane);
}

/* n <= LT_VL integers of 16 bits. */
LT_INLINE void quantize_store16(uint16_t *y, int64_t n, vi v) {
  int32_t lane[LT_VL];
  vi_store(lane, v);
  for (int64_t k = 0; k < n; k++) y[k] = (uint16_t)lane[k];
}

LT_INLINE vf quantize_scale(const lt_quantize_row *row, int64_t i, int64_t n) {
  if (!row->per_element) return vf_set1(*row->scale);
  return n == LT_VL ? vf_load(row->scale + i) : vf_load_n(row->scale + i, n);
}

LT_INLINE vi quantize_zero(const lt_quantize_row *row, int64_t i, int64_t n) {
  if (!row->zero) return vi_set1(0);
  if (!row->per_element) return vi_set1(*row->zero);
  return n == LT_VL ? vi_load(row->zero + i) : vi_load_n(row->zero + i, n);
}

LT_INLINE vi quantize_vector(const lt_quantize_row *row, const float *x, int64_t i, int64_t n) {
  const vi zero = quantize_zero(row, i, n);
  const vf offset = vf_from_vi(zero);
  const vf lo = vf_sub(vf_set1((float)row->y_min), offset), hi = vf_sub(vf_set1((float)row->y_max), offset);
  vf v = n == LT_VL ? vf_load(x + i) : vf_load_n(x + i, n);
  v = vf_div(v, quantize_scale(row, i, n));
  v = vf_blend(vf_eq(v, v), v, lo);
  return vi_quantise(v, lo, hi, zero);
}

LT_INLINE void quantize_to_bytes(const lt_quantize_row *row, const float *x, uint8_t *y) {
  int64_t i = 0;
  for (; i + 4 * LT_VL <= row->n; i += 4 * LT_VL) {
    vi v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) v[k] = quantize_vector(row, x, i + k * LT_VL, LT_VL);
    vi_store_bytes4(y + i, v);
  }
  for (; i < row->n; i += LT_VL) {
    const int64_t n = row->n - i < LT_VL ? row->n - i : LT_VL;
    vi_store_bytes(y + i, quantize_vector(row, x, i, n), n);
  }
}

LT_INLINE void quantize_to_16_bits(const lt_quantize_row *row, const float *x, uint16_t *y) {
  int64_t i = 0;
#pragma GCC unroll 4
  for (; i + LT_VL <= row->n; i += LT_VL) quantize_store16(y + i, LT_VL, quantize_vector(row, x, i, LT_VL));
  if (i < row->n) quantize_store16(y + i, row->n - i, quantize_vector(row, x, i, row->n - i));
}

void LT_FN(lt_quantize_row)(const lt_quantize_row *row, const void *x, void *y) {
  if (lt_is_byte(row->type))
    quantize_to_bytes(row, x, y);
  else
    quantize_to_16_bits(row, x, y);
}

LT_INLINE void dequantize_vector(const lt_quantize_row *row, const void *x, float *y, int64_t i, int64_t n,
                                 int64_t type) {
  const vi v = vi_sub(quantize_load(x, i, n, type), quantize_zero(row, i, n));
  const vf product = vf_mul(vf_from_vi(v), quantize_scale(row, i, n));
  if (n == LT_VL)
    vf_store(y + i, product);
  else
    vf_store_n(y + i, product, n);
}

LT_INLINE void dequantize_row(const lt_quantize_row *row, const void *x, float *y, int64_t type) {
  int64_t i = 0;
#pragma GCC unroll 4
  for (; i + LT_VL <= row->n; i += LT_VL) dequantize_vector(row, x, y, i, LT_VL, type);
  if (i < row->n) dequantize_vector(row, x, y, i, row->n - i, type);
}

void LT_FN(lt_dequantize_row)(const lt_quantize_row *row, const void *x, void *y) {
  switch (row->type) {
    case LT_U8: dequantize_row(row, x, y, LT_U8); break;
    case LT_I8: dequantize_row(row, x, y, LT_I8); break;
    case LT_U16: dequantize_row(row, x, y, LT_U16); break;
    case LT_I16: dequantize_row(row, x, y, LT_I16); break;
    default: dequantize_row(row, x, y, LT_I32); break;
  }
}

void LT_FN(lt_min_max)(const float *x, int64_t n, float *min, float *max) {
  vf low = vf_zero(), high = vf_zero();
  int64_t i = 0;
#pragma GCC unroll 4
  for (; i < n; i += LT_VL) {
    vf v = i + LT_VL <= n ? vf_load(x + i) : vf_load_n(x + i, n - i);
    v = vf_blend(vf_eq(v, v), v, vf_zero());
    low = vf_min(low, v);
    high = vf_max(high, v);
  }
  *min = vf_hmin(low);
  *max = vf_hmax(high);
}
