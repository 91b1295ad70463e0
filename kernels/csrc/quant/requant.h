/* Integer vectors beside simd.h, and the one definition of requantisation.
 *
 *   vi                          LT_VL int32
 *   vi_load, vi_store           unaligned; vi_load_n, vi_store_n touch only the first n lanes
 *   vi_set1, vi_add, vi_sub, vi_mul (wrapping); vi_xor
 *   vf_from_vi                  rounds to nearest even
 *   vi_from_vf                  rounds to nearest even; too small gives the least int32, too large must not come
 *   vf_fused(a, b, c)           a b + c rounded once, also where vf_fma rounds twice
 *   vi_load_bytes(p, sign, n)   n bytes widened, signed or not; the other lanes are 0
 *   vi_store_bytes(p, v, n)     the low bytes of the first n lanes
 *   vi_store_bytes4(p, v)       those of four vectors whose values fit 16 bits
 *   vp                          four vectors of LT_VL bytes each
 *   vp_pack(a, b, c, d, shift)  saturates v + shift of each to 0 to 255, where v saturates to 16 bits first
 *   vp_set1, vp_max (unsigned), vp_xor
 *   vp_store(p, v, i, n)        the first n bytes of vector i, a constant after unrolling
 *   vp_store_two(p, v, i)       vectors i and i + 1, i even
 *   vp_get(p, n), vp_put(p, v, n)  n <= 4 LT_VL bytes as they lie in memory, an order that vp_pack does not have
 *
 * Every instruction set computes the same bits: multiply-adds are fused where vf_fused says so and nowhere else
 * (-ffp-contract=off), and values are clamped before they are rounded, so that no conversion overflows.
 */
#ifndef LT_REQUANT_H
#define LT_REQUANT_H

#include "../simd/simd.h"

/* The first n bytes at p, n from 0 to 8, little endian; nothing else is read. */
LT_INLINE uint64_t lt_load_bytes(const void *p, int64_t n) {
  const uint8_t *s = p;
  if (n >= 4) {
    uint32_t low, high;
    memcpy(&low, s, 4);
    memcpy(&high, s + n - 4, 4);
    return low | (uint64_t)high << (8 * (n - 4));
  }
  if (n == 0) return 0;
  return (uint64_t)s[0] | (uint64_t)s[n / 2] << (8 * (n / 2)) | (uint64_t)s[n - 1] << (8 * (n - 1));
}

/* The low n bytes of v, n from 0 to 8, to p; nothing else is written. */
LT_INLINE void lt_store_bytes(void *p, uint64_t v, int64_t n) {
  uint8_t *d = p;
  if (n >= 4) {
    const uint32_t low = (uint32_t)v, high = (uint32_t)(v >> (8 * (n - 4)));
    memcpy(d, &low, 4);
    memcpy(d + n - 4, &high, 4);
  } else if (n > 0) {
    d[0] = (uint8_t)v;
    d[n / 2] = (uint8_t)(v >> (8 * (n / 2)));
    d[n - 1] = (uint8_t)(v >> (8 * (n - 1)));
  }
}

#if defined(LT_SIMD_AVX512)

typedef __m512i vi;
LT_INLINE vi vi_load(const int32_t *p) { return _mm512_loadu_si512(p); }
LT_INLINE void vi_store(int32_t *p, vi v) { _mm512_storeu_si512(p, v); }
LT_INLINE vi vi_load_n(const int32_t *p, int64_t n) { return _mm512_maskz_loadu_epi32(lt_first_n(n), p); }
LT_INLINE void vi_store_n(int32_t *p, vi v, int64_t n) { _mm512_mask_storeu_epi32(p, lt_first_n(n), v); }
LT_INLINE vi vi_set1(int32_t x) { return _mm512_set1_epi32(x); }
LT_INLINE vi vi_xor(vi a, vi b) { return _mm512_xor_si512(a, b); }
LT_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
LT_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
LT_INLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
LT_INLINE vf vf_from_vi(vi a) { return _mm512_cvtepi32_ps(a); }
LT_INLINE vi vi_from_vf(vf a) { return _mm512_cvtps_epi32(a); }
LT_INLINE vf vf_fused(vf a, vf b, vf c) { return vf_fma(a, b, c); }
LT_INLINE vi vi_load_bytes(const void *p, int sign, int64_t n) {
  const __m128i v = n == LT_VL ? _mm_loadu_si128(p) : _mm_maskz_loadu_epi8(lt_first_n(n), p);
  return sign ? _mm512_cvtepi8_epi32(v) : _mm512_cvtepu8_epi32(v);
}
LT_INLINE void vi_store_bytes(void *p, vi v, int64_t n) {
  if (n == LT_VL) {
    _mm_storeu_si128(p, _mm512_cvtepi32_epi8(v));
  } else {
    _mm_mask_storeu_epi8(p, lt_first_n(n), _mm512_cvtepi32_epi8(v));
  }
}
LT_INLINE void vi_store_bytes4(void *p, const vi v[4]) {
  const __m512i byte = _mm512_set1_epi16(0xff),
                order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_and_si512(_mm512_packs_epi32(v[0], v[1]), byte);
  const __m512i high = _mm512_and_si512(_mm512_packs_epi32(v[2], v[3]), byte);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high)));
}
typedef __m512i vp;
LT_INLINE vp vp_pack(vi a, vi b, vi c, vi d, int shift) {
  const __m512i add = _mm512_set1_epi16((int16_t)shift);
  const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), add);
  const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), add);
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
}
LT_INLINE vp vp_set1(int x) { return _mm512_set1_epi8((char)x); }
LT_INLINE vp vp_max(vp a, vp b) { return _mm512_max_epu8(a, b); }
LT_INLINE vp vp_xor(vp a, vp b) { return _mm512_xor_si512(a, b); }
LT_INLINE void vp_store(void *p, vp v, int i, int64_t n) {
  const __m128i x = i == 0   ? _mm512_castsi512_si128(v)
                    : i == 1 ? _mm512_extracti32x4_epi32(v, 1)
                    : i == 2 ? _mm512_extracti32x4_epi32(v, 2)
                             : _mm512_extracti32x4_epi32(v, 3);
  if (n == LT_VL) {
    _mm_storeu_si128(p, x);
  } else {
    _mm_mask_storeu_epi8(p, lt_first_n(n), x);
  }
}
LT_INLINE void vp_store_two(void *p, vp v, int i) {
  _mm256_storeu_si256(p, i ? _mm512_extracti64x4_epi64(v, 1) : _mm512_castsi512_si256(v));
}

#elif defined(LT_SIMD_AVX2)

typedef __m256i vi;
LT_INLINE vi vi_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
LT_INLINE void vi_store(int32_t *p, vi v) { _mm256_storeu_si256((__m256i *)p, v); }
LT_INLINE vi vi_load_n(const int32_t *p, int64_t n) { return _mm256_maskload_epi32(p, lt_first_n(n)); }
LT_INLINE void vi_store_n(int32_t *p, vi v, int64_t n) { _mm256_maskstore_epi32(p, lt_first_n(n), v); }
LT_INLINE vi vi_set1(int32_t x) { return _mm256_set1_epi32(x); }
LT_INLINE vi vi_xor(vi a, vi b) { return _mm256_xor_si256(a, b); }
LT_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
LT_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
LT_INLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
LT_INLINE vf vf_from_vi(vi a) { return _mm256_cvtepi32_ps(a); }
LT_INLINE vi vi_from_vf(vf a) { return _mm256_cvtps_epi32(a); }
LT_INLINE vf vf_fused(vf a, vf b, vf c) { return vf_fma(a, b, c); }
LT_INLINE vi vi_load_bytes(const void *p, int sign, int64_t n) {
  const __m128i v = n == LT_VL ? _mm_loadl_epi64(p) : _mm_cvtsi64_si128((int64_t)lt_load_bytes(p, n));
  return sign ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v);
}
LT_INLINE void vi_store_bytes(void *p, vi v, int64_t n) {
  const __m256i low = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0c080400)); /* four bytes in each half */
  const __m128i bytes = _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  if (n == LT_VL) {
    _mm_storel_epi64(p, bytes);
  } else {
    lt_store_bytes(p, (uint64_t)_mm_cvtsi128_si64(bytes), n);
  }
}
LT_INLINE void vi_store_bytes4(void *p, const vi v[4]) {
  const __m256i byte = _mm256_set1_epi16(0xff), order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i low = _mm256_and_si256(_mm256_packs_epi32(v[0], v[1]), byte);
  const __m256i high = _mm256_and_si256(_mm256_packs_epi32(v[2], v[3]), byte);
  _mm256_storeu_si256(p, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order));
}
typedef __m256i vp;
LT_INLINE vp vp_pack(vi a, vi b, vi c, vi d, int shift) {
  const __m256i add = _mm256_set1_epi16((int16_t)shift);
  const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), add);
  const __m256i cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), add);
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), order);
}
LT_INLINE vp vp_set1(int x) { return _mm256_set1_epi8((char)x); }
LT_INLINE vp vp_max(vp a, vp b) { return _mm256_max_epu8(a, b); }
LT_INLINE vp vp_xor(vp a, vp b) { return _mm256_xor_si256(a, b); }
LT_INLINE void vp_store(void *p, vp v, int i, int64_t n) {
  const __m128i half = i < 2 ? _mm256_castsi256_si128(v) : _mm256_extracti128_si256(v, 1);
  const __m128i x = i % 2 ? _mm_unpackhi_epi64(half, half) : half;
  if (n == LT_VL) {
    _mm_storel_epi64(p, x);
  } else {
    lt_store_bytes(p, (uint64_t)_mm_cvtsi128_si64(x), n);
  }
}
LT_INLINE void vp_store_two(void *p, vp v, int i) {
  _mm_storeu_si128(p, i ? _mm256_extracti128_si256(v, 1) : _mm256_castsi256_si128(v));
}

#elif defined(LT_SIMD_NEON)

typedef int32x4_t vi;
LT_INLINE vi vi_load(const int32_t *p) { return vld1q_s32(p); }
LT_INLINE void vi_store(int32_t *p, vi v) { vst1q_s32(p, v); }
LT_INLINE vi vi_load_n(const int32_t *p, int64_t n) { return vreinterpretq_s32_f32(vf_load_n((const float *)p, n)); }
LT_INLINE void vi_store_n(int32_t *p, vi v, int64_t n) { vf_store_n((float *)p, vreinterpretq_f32_s32(v), n); }
LT_INLINE vi vi_set1(int32_t x) { return vdupq_n_s32(x); }
LT_INLINE vi vi_xor(vi a, vi b) { return veorq_s32(a, b); }
LT_INLINE vi vi_add(vi a, vi b) { return vaddq_s32(a, b); }
LT_INLINE vi vi_sub(vi a, vi b) { return vsubq_s32(a, b); }
LT_INLINE vi vi_mul(vi a, vi b) { return vmulq_s32(a, b); }
LT_INLINE vf vf_from_vi(vi a) { return vcvtq_f32_s32(a); }
LT_INLINE vi vi_from_vf(vf a) { return vcvtnq_s32_f32(a); }
LT_INLINE vf vf_fused(vf a, vf b, vf c) { return vf_fma(a, b, c); }
LT_INLINE vi vi_load_bytes(const void *p, int sign, int64_t n) {
  const uint64x1_t bits = vcreate_u64(lt_load_bytes(p, n));
  if (sign) return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u64(bits))));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u64(bits)))));
}
LT_INLINE void vi_store_bytes(void *p, vi v, int64_t n) {
  const int16x4_t half = vmovn_s32(v);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));
  if (n == LT_VL) {
    vst1_lane_u32(p, vreinterpret_u32_s8(bytes), 0);
  } else {
    lt_store_bytes(p, vget_lane_u64(vreinterpret_u64_s8(bytes), 0), n);
  }
}
LT_INLINE void vi_store_bytes4(void *p, const vi v[4]) {
  const int16x8_t low = vuzp1q_s16(vreinterpretq_s16_s32(v[0]), vreinterpretq_s16_s32(v[1]));
  const int16x8_t high = vuzp1q_s16(vreinterpretq_s16_s32(v[2]), vreinterpretq_s16_s32(v[3]));
  vst1q_s8(p, vuzp1q_s8(vreinterpretq_s8_s16(low), vreinterpretq_s8_s16(high)));
}
typedef uint8x16_t vp;
LT_INLINE vp vp_pack(vi a, vi b, vi c, vi d, int shift) {
  const int16x8_t add = vdupq_n_s16((int16_t)shift);
  const int16x8_t ab = vqaddq_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)), add);
  const int16x8_t cd = vqaddq_s16(vcombine_s16(vqmovn_s32(c), vqmovn_s32(d)), add);
  return vcombine_u8(vqmovun_s16(ab), vqmovun_s16(cd));
}
LT_INLINE vp vp_set1(int x) { return vdupq_n_u8((uint8_t)x); }
LT_INLINE vp vp_max(vp a, vp b) { return vmaxq_u8(a, b); }
LT_INLINE vp vp_xor(vp a, vp b) { return veorq_u8(a, b); }
LT_INLINE void vp_store(void *p, vp v, int i, int64_t n) {
  const uint32x4_t words = vreinterpretq_u32_u8(v);
  const uint32_t x = i == 0   ? vgetq_lane_u32(words, 0)
                     : i == 1 ? vgetq_lane_u32(words, 1)
                     : i == 2 ? vgetq_lane_u32(words, 2)
                              : vgetq_lane_u32(words, 3);
  if (n == LT_VL) {
    memcpy(p, &x, sizeof x);
  } else {
    lt_store_bytes(p, x, n);
  }
}
LT_INLINE void vp_store_two(void *p, vp v, int i) { vst1_u8(p, i ? vget_high_u8(v) : vget_low_u8(v)); }

#else

typedef uint32_t vi __attribute__((vector_size(16))); /* unsigned: it wraps */
LT_INLINE vi vi_load(const int32_t *p) {
  vi v;
  memcpy(&v, p, sizeof v);
  return v;
}
LT_INLINE void vi_store(int32_t *p, vi v) { memcpy(p, &v, sizeof v); }
LT_INLINE vi vi_load_n(const int32_t *p, int64_t n) {
  vi v = {0, 0, 0, 0};
  memcpy(&v, p, (size_t)n * sizeof *p);
  return v;
}
LT_INLINE void vi_store_n(int32_t *p, vi v, int64_t n) { memcpy(p, &v, (size_t)n * sizeof *p); }
LT_INLINE vi vi_set1(int32_t x) { return (vi){0, 0, 0, 0} + (uint32_t)x; }
LT_INLINE vi vi_xor(vi a, vi b) { return a ^ b; }
LT_INLINE vi vi_add(vi a, vi b) { return a + b; }
LT_INLINE vi vi_sub(vi a, vi b) { return a - b; }
LT_INLINE vi vi_mul(vi a, vi b) { return a * b; }
LT_INLINE vf vf_from_vi(vi a) { return __builtin_convertvector((vm)a, vf); }
LT_INLINE vi vi_from_vf(vf a) { return (vi) __builtin_convertvector(vf_round(a), vm); }
LT_INLINE vf vf_fused(vf a, vf b, vf c) {
  for (int i = 0; i < LT_VL; i++) c[i] = fmaf(a[i], b[i], c[i]);
  return c;
}
LT_INLINE vi vi_load_bytes(const void *p, int sign, int64_t n) {
  const uint8_t *s = p;
  vi v = {0, 0, 0, 0};
  for (int64_t i = 0; i < n; i++) v[i] = sign ? (uint32_t)(int32_t)(int8_t)s[i] : s[i];
  return v;
}
LT_INLINE void vi_store_bytes(void *p, vi v, int64_t n) {
  uint8_t *d = p;
  for (int64_t i = 0; i < n; i++) d[i] = (uint8_t)v[i];
}
LT_INLINE void vi_store_bytes4(void *p, const vi v[4]) {
  for (int i = 0; i < 4; i++) vi_store_bytes((uint8_t *)p + i * LT_VL, v[i], LT_VL);
}

typedef struct {
  uint8_t bytes[4 * LT_VL];
} vp;
LT_INLINE vp vp_pack(vi a, vi b, vi c, vi d, int shift) {
  const vi all[4] = {a, b, c, d};
  vp v;
  for (int i = 0; i < 4 * LT_VL; i++) {
    const int32_t x = (int32_t)all[i / LT_VL][i % LT_VL];
    const int32_t sum = (x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x) + shift;
    v.bytes[i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
  }
  return v;
}
LT_INLINE vp vp_set1(int x) {
  vp v;
  memset(v.bytes, x, sizeof v.bytes);
  return v;
}
LT_INLINE vp vp_max(vp a, vp b) {
  for (int i = 0; i < 4 * LT_VL; i++) a.bytes[i] = a.bytes[i] > b.bytes[i] ? a.bytes[i] : b.bytes[i];
  return a;
}
LT_INLINE vp vp_xor(vp a, vp b) {
  for (int i = 0; i < 4 * LT_VL; i++) a.bytes[i] ^= b.bytes[i];
  return a;
}
LT_INLINE void vp_store(void *p, vp v, int i, int64_t n) { memcpy(p, v.bytes + i * LT_VL, (size_t)n); }
LT_INLINE void vp_store_two(void *p, vp v, int i) { memcpy(p, v.bytes + i * LT_VL, 2 * LT_VL); }

#endif

LT_INLINE vp vp_get(const uint8_t *p, int64_t n) {
  vp v;
  if (n == sizeof v) {
    memcpy(&v, p, sizeof v);
    return v;
  }
#if defined(LT_SIMD_AVX512)
  return _mm512_maskz_loadu_epi8(((__mmask64)1 << n) - 1, p);
#else
  uint64_t words[LT_VL / 2] = {0};
  for (int64_t k = 0; k < n; k += 8) words[k / 8] = lt_load_bytes(p + k, n - k < 8 ? n - k : 8);
  memcpy(&v, words, sizeof v);
  return v;
#endif
}

LT_INLINE void vp_put(uint8_t *p, vp v, int64_t n) {
  if (n == sizeof v) {
    memcpy(p, &v, sizeof v);
    return;
  }
#if defined(LT_SIMD_AVX512)
  _mm512_mask_storeu_epi8(p, ((__mmask64)1 << n) - 1, v);
#else
  uint64_t words[LT_VL / 2];
  memcpy(words, &v, sizeof v);
  for (int64_t k = 0; k < n; k += 8) lt_store_bytes(p + k, words[k / 8], n - k < 8 ? n - k : 8);
#endif
}

/* clamp(round(v), low, high) + zero, where the bounds are integers that fit, given without the zero. */
LT_INLINE vi vi_quantise(vf v, vf low, vf high, vi zero) {
  return vi_add(vi_from_vf(vf_min(high, vf_max(low, v))), zero);
}

/* q = clamp(round(float(acc) scale), low, high) + zero. */
LT_INLINE vi vi_requantise(vi acc, vf scale, vf low, vf high, vi zero) {
  return vi_quantise(vf_mul(vf_from_vi(acc), scale), low, high, zero);
}

/* clamp(round(fma(a, a_ratio, fma(b, b_ratio, offset))), low, high): the addition of quantised tensors to the bit as
 * ONNX Runtime's QLinearAdd computes it on x86-64, with a_ratio = a_scale / y_scale, b_ratio = b_scale / y_scale and
 * lt_sum_offset of sum.h. a and b are not exchangeable: the last bit depends on which is fused last. */
LT_INLINE vi vi_quantised_add(vi a, vf a_ratio, vi b, vf b_ratio, vf offset, vf low, vf high) {
  const vf sum = vf_fused(vf_from_vi(a), a_ratio, vf_fused(vf_from_vi(b), b_ratio, offset));
  return vi_from_vf(vf_min(high, vf_max(low, sum)));
}

#endif
