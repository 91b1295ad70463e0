/* NEON of armv8.0 (aarch64). See simd.h for the names. */
#ifndef LT_SIMD_NEON_H
#define LT_SIMD_NEON_H

#include <arm_neon.h>

#define LT_ISA_NAME neon
#define LT_VL 4
typedef float32x4_t vf;
typedef uint32x4_t vm;

LT_INLINE vf vf_load(const float *p) { return vld1q_f32(p); }
LT_INLINE void vf_store(float *p, vf v) { vst1q_f32(p, v); }
LT_INLINE vf vf_load_n(const float *p, int64_t n) {
  float32x4_t v = vdupq_n_f32(0.0f);
  if (n == 4) return vld1q_f32(p);
  if (n >= 1) v = vld1q_lane_f32(p, v, 0);
  if (n >= 2) v = vld1q_lane_f32(p + 1, v, 1);
  if (n >= 3) v = vld1q_lane_f32(p + 2, v, 2);
  return v;
}
LT_INLINE void vf_store_n(float *p, vf v, int64_t n) {
  if (n == 4) {
    vst1q_f32(p, v);
    return;
  }
  if (n >= 1) vst1q_lane_f32(p, v, 0);
  if (n >= 2) vst1q_lane_f32(p + 1, v, 1);
  if (n >= 3) vst1q_lane_f32(p + 2, v, 2);
}
LT_INLINE vf vf_set1(float x) { return vdupq_n_f32(x); }
LT_INLINE vf vf_zero(void) { return vdupq_n_f32(0.0f); }
LT_INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
LT_INLINE vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
LT_INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
LT_INLINE vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
LT_INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
LT_INLINE vf vf_sqrt(vf a) { return vsqrtq_f32(a); }
LT_INLINE vf vf_neg(vf a) { return vnegq_f32(a); }
LT_INLINE vf vf_abs(vf a) { return vabsq_f32(a); }
LT_INLINE vf vf_min(vf a, vf b) { return vminq_f32(a, b); }
LT_INLINE vf vf_max(vf a, vf b) { return vmaxq_f32(a, b); }
LT_INLINE vf vf_round(vf a) { return vrndnq_f32(a); }
LT_INLINE vf vf_floor(vf a) { return vrndmq_f32(a); }
LT_INLINE vf vf_ceil(vf a) { return vrndpq_f32(a); }
LT_INLINE vm vf_lt(vf a, vf b) { return vcltq_f32(a, b); }
LT_INLINE vm vf_le(vf a, vf b) { return vcleq_f32(a, b); }
LT_INLINE vm vf_eq(vf a, vf b) { return vceqq_f32(a, b); }
LT_INLINE vf vf_blend(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
LT_INLINE vf vf_pow2(vf n) {
  int32x4_t e = vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127));
  return vreinterpretq_f32_s32(vshlq_n_s32(e, 23));
}
/* In two steps, because n may be outside the exponents of one factor. */
LT_INLINE vf vf_scale2(vf x, vf n) {
  vf half = vf_round(vf_mul(n, vf_set1(0.5f)));
  return vf_mul(vf_mul(x, vf_pow2(half)), vf_pow2(vf_sub(n, half)));
}
LT_INLINE vf vf_pow2_of(vf t) { return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(t), 23)); }
/* Two steps of Newton's method: many cores divide one lane at a time. */
LT_INLINE vf vf_quotient(vf a, vf b) {
  vf r = vrecpeq_f32(b);
  r = vmulq_f32(r, vrecpsq_f32(b, r));
  return vmulq_f32(a, vmulq_f32(r, vrecpsq_f32(b, r)));
}
LT_INLINE vf vf_exponent(vf x) {
  uint32x4_t e = vshrq_n_u32(vreinterpretq_u32_f32(x), 23);
  return vcvtq_f32_s32(vsubq_s32(vreinterpretq_s32_u32(e), vdupq_n_s32(127)));
}
LT_INLINE vf vf_mantissa(vf x) {
  uint32x4_t m = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x007fffff));
  return vreinterpretq_f32_u32(vorrq_u32(m, vdupq_n_u32(0x3f800000)));
}
LT_INLINE float vf_hsum(vf a) { return vaddvq_f32(a); }
LT_INLINE float vf_hmax(vf a) { return vmaxvq_f32(a); }
LT_INLINE float vf_hmin(vf a) { return vminvq_f32(a); }

/* Four k of a row in one register: fmla by element then needs no broadcast. */
#define LT_AK 4
typedef float32x4_t va;
LT_INLINE va va_load(const float *p) { return vld1q_f32(p); }
LT_INLINE vf vf_fma_lane(vf b, va a, int i, vf c) {
  switch (i) {
    case 0: return vfmaq_laneq_f32(c, b, a, 0);
    case 1: return vfmaq_laneq_f32(c, b, a, 1);
    case 2: return vfmaq_laneq_f32(c, b, a, 2);
    default: return vfmaq_laneq_f32(c, b, a, 3);
  }
}

#endif
