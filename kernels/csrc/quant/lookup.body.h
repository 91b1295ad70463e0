/* y = table[x] on a row of bytes: with registers that hold the table where instructions index them, else one by one. */
#include "quant/lookup.h"
#include "simd/simd.h"

#if defined(LT_SIMD_AVX512)

__attribute__((target("avx512vbmi"))) static void lookup_row_vbmi(const uint8_t *x, const uint8_t *table, uint8_t *y,
                                                                  int64_t n) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  for (int64_t i = 0; i < n; i += 64) {
    const __mmask64 some = n - i < 64 ? ((__mmask64)1 << (n - i)) - 1 : ~(__mmask64)0;
    const __m512i v = _mm512_maskz_loadu_epi8(some, x + i);
    const __m512i low = _mm512_permutex2var_epi8(t0, v, t1), high = _mm512_permutex2var_epi8(t2, v, t3);
    _mm512_mask_storeu_epi8(y + i, some, _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high));
  }
}

#endif

void LT_FN(lt_lookup_row)(const uint8_t *x, const uint8_t *table, uint8_t *y, int64_t n) {
  int64_t i = 0;
#if defined(LT_SIMD_AVX512)
  if (n >= 64 && __builtin_cpu_supports("avx512vbmi")) {
    lookup_row_vbmi(x, table, y, n);
    return;
  }
#elif defined(LT_SIMD_NEON)
  if (n >= 64) {
    const uint8x16x4_t t0 = vld1q_u8_x4(table), t1 = vld1q_u8_x4(table + 64);
    const uint8x16x4_t t2 = vld1q_u8_x4(table + 128), t3 = vld1q_u8_x4(table + 192);
    const uint8x16_t quarter = vdupq_n_u8(64);
    for (; i + 16 <= n; i += 16) {
      uint8x16_t v = vld1q_u8(x + i), r = vqtbl4q_u8(t0, v);
      r = vqtbx4q_u8(r, t1, v = vsubq_u8(v, quarter));
      r = vqtbx4q_u8(r, t2, v = vsubq_u8(v, quarter));
      r = vqtbx4q_u8(r, t3, vsubq_u8(v, quarter));
      vst1q_u8(y + i, r);
    }
  }
#endif
  for (; i < n; i++) y[i] = table[x[i]];
}
