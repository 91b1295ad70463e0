/* AVX-512 F, BW, DQ, VL. See simd.h for the names. */
#ifndef LT_SIMD_AVX512_H
#define LT_SIMD_AVX512_H

#include <immintrin.h>

#define LT_ISA_NAME avx512
#define LT_VL 16
typedef __m512 vf;
typedef __mmask16 vm;

LT_INLINE __mmask16 lt_first_n(int64_t n) { return (__mmask16)((1u << n) - 1u); }

LT_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
LT_INLINE void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
LT_INLINE vf vf_load_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(lt_first_n(n), p); }
LT_INLINE void vf_store_n(float *p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, lt_first_n(n), v); }
LT_INLINE vf vf_set1(float x) { return _mm512_set1_ps(x); }
LT_INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
LT_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
LT_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
LT_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
LT_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
LT_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
LT_INLINE vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
LT_INLINE vf vf_neg(vf a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
LT_INLINE vf vf_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
LT_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
LT_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
LT_INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
LT_INLINE vf vf_floor(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
LT_INLINE vf vf_ceil(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
LT_INLINE vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
LT_INLINE vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
LT_INLINE vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
LT_INLINE vf vf_blend(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
LT_INLINE vf vf_pow2(vf n) {
  __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(e, 23));
}
LT_INLINE vf vf_scale2(vf x, vf n) { return _mm512_scalef_ps(x, n); }
LT_INLINE vf vf_pow2_of(vf t) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23)); }
/* One step of Newton's method. */
LT_INLINE vf vf_quotient(vf a, vf b) {
  const vf r = _mm512_rcp14_ps(b);
  return _mm512_mul_ps(a, _mm512_fmadd_ps(r, _mm512_fnmadd_ps(b, r, _mm512_set1_ps(1.0f)), r));
}
LT_INLINE vf vf_exponent(vf x) {
  __m512i e = _mm512_srli_epi32(_mm512_castps_si512(x), 23);
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(e, _mm512_set1_epi32(127)));
}
LT_INLINE vf vf_mantissa(vf x) {
  __m512i m = _mm512_and_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x007fffff));
  return _mm512_castsi512_ps(_mm512_or_epi32(m, _mm512_set1_epi32(0x3f800000)));
}
LT_INLINE float vf_hsum(vf a) { return _mm512_reduce_add_ps(a); }
LT_INLINE float vf_hmax(vf a) { return _mm512_reduce_max_ps(a); }
LT_INLINE float vf_hmin(vf a) { return _mm512_reduce_min_ps(a); }

#define LT_AK 1
typedef __m512 va;
LT_INLINE va va_load(const float *p) { return _mm512_set1_ps(*p); }
LT_INLINE vf vf_fma_lane(vf b, va a, int i, vf c) {
  (void)i;
  return _mm512_fmadd_ps(b, a, c);
}

#endif
