/* Between float and IEEE binary16, a run of n elements. */
#include "eltwise/half.h"
#include "simd/simd.h"

#if defined(LT_SIMD_AVX2) || defined(LT_SIMD_AVX512)
#define HALF_LANES 8
LT_INLINE void widen_vector(const uint16_t *x, float *y) {
  _mm256_storeu_ps(y, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x)));
}
LT_INLINE void narrow_vector(const float *x, uint16_t *y) {
  _mm_storeu_si128((__m128i *)y, _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(LT_SIMD_NEON)
#define HALF_LANES 4
LT_INLINE void widen_vector(const uint16_t *x, float *y) {
  vst1q_f32(y, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x))));
}
LT_INLINE void narrow_vector(const float *x, uint16_t *y) {
  vst1_u16(y, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x))));
}
#else
#define HALF_LANES 1
LT_INLINE void widen_vector(const uint16_t *x, float *y) { *y = lt_half_to_float(*x); }
LT_INLINE void narrow_vector(const float *x, uint16_t *y) { *y = lt_float_to_half(*x); }
#endif

void LT_FN(lt_half_widen)(const uint16_t *x, float *y, int64_t n) {
  int64_t i = 0;
  for (; i + HALF_LANES <= n; i += HALF_LANES) widen_vector(x + i, y + i);
  for (; i < n; i++) y[i] = lt_half_to_float(x[i]);
}

void LT_FN(lt_half_narrow)(const float *x, uint16_t *y, int64_t n) {
  int64_t i = 0;
  for (; i + HALF_LANES <= n; i += HALF_LANES) narrow_vector(x + i, y + i);
  for (; i < n; i++) y[i] = lt_float_to_half(x[i]);
}
#undef HALF_LANES
