/* AVX2 and FMA. See simd.h for the names. */
#ifndef LT_SIMD_AVX2_H
#define LT_SIMD_AVX2_H

#include <immintrin.h>

#define LT_ISA_NAME avx2
#define LT_VL 8
typedef __m256 vf;
typedef __m256 vm;

LT_INLINE __m256i lt_first_n(int64_t n) {
  static const int32_t ones_then_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
  return _mm256_loadu_si256((const __m256i *)(ones_then_zeros + 8 - n));
}

LT_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
LT_INLINE void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
LT_INLINE vf vf_load_n(const float *p, int64_t n) {
  if (__builtin_constant_p(n) && n == LT_VL) return vf_load(p);
  return _mm256_maskload_ps(p, lt_first_n(n));
}
LT_INLINE void vf_store_n(float *p, vf v, int64_t n) {
  if (__builtin_constant_p(n) && n == LT_VL)
    vf_store(p, v);
  else
    _mm256_maskstore_ps(p, lt_first_n(n), v);
}
LT_INLINE vf vf_set1(float x) { return _mm256_set1_ps(x); }
LT_INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
LT_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
LT_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
LT_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
LT_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
LT_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
LT_INLINE vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
LT_INLINE vf vf_neg(vf a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
LT_INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
LT_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
LT_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
LT_INLINE vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
LT_INLINE vf vf_floor(vf a) { return _mm256_floor_ps(a); }
LT_INLINE vf vf_ceil(vf a) { return _mm256_ceil_ps(a); }
LT_INLINE vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
LT_INLINE vm vf_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
LT_INLINE vm vf_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
LT_INLINE vf vf_blend(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
LT_INLINE vf vf_pow2(vf n) {
  __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
/* In two steps, because n may be outside the exponents of one factor. */
LT_INLINE vf vf_scale2(vf x, vf n) {
  vf half = vf_round(vf_mul(n, vf_set1(0.5f)));
  return vf_mul(vf_mul(x, vf_pow2(half)), vf_pow2(vf_sub(n, half)));
}
LT_INLINE vf vf_pow2_of(vf t) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23)); }
LT_INLINE vf vf_quotient(vf a, vf b) { return vf_div(a, b); }
LT_INLINE vf vf_exponent(vf x) {
  __m256i e = _mm256_srli_epi32(_mm256_castps_si256(x), 23);
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(e, _mm256_set1_epi32(127)));
}
LT_INLINE vf vf_mantissa(vf x) {
  __m256i m = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x007fffff));
  return _mm256_castsi256_ps(_mm256_or_si256(m, _mm256_set1_epi32(0x3f800000)));
}
LT_INLINE float vf_hsum(vf a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
LT_INLINE float vf_hmax(vf a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
LT_INLINE float vf_hmin(vf a) {
  __m128 s = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_min_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_min_ss(s, _mm_movehdup_ps(s)));
}

#define LT_AK 1
typedef __m256 va;
LT_INLINE va va_load(const float *p) { return _mm256_broadcast_ss(p); }
LT_INLINE vf vf_fma_lane(vf b, va a, int i, vf c) {
  (void)i;
  return _mm256_fmadd_ps(b, a, c);
}

#endif
