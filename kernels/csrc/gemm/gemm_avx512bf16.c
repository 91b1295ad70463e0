/* VDPBF16PS: each lane sums the products of a pair of bf16. */
#define LT_SIMD_AVX512
#include "../simd/simd.h"
#include "../simd/simd_math.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME avx512bf16

#define LT_GEMM_WORDS
LT_INLINE vf lt_word_fma(vf b, vf a, vf c) {
  return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(b), (__m512bh)_mm512_castps_si512(a));
}
LT_INLINE vf lt_word_fma_lane(vf b, va a, int i, vf c) {
  (void)i;
  return lt_word_fma(b, a, c);
}

#include "gemm.body.h"

void lt_half_copy_avx512bf16(uint16_t *dst, const float *src, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16)
    _mm256_storeu_si256((__m256i *)(dst + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(src + i)));
  if (i == count) return;
  const __mmask16 rest = (__mmask16)((1u << (count - i)) - 1);
  _mm256_mask_storeu_epi16(dst + i, rest, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(rest, src + i)));
}
