/* The baseline: GCC vector extensions of 16 bytes, which every architecture compiles (SSE2 on x86-64). See simd.h. */
#ifndef LT_SIMD_SCALAR_H
#define LT_SIMD_SCALAR_H

#define LT_ISA_NAME scalar
#define LT_VL 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vm __attribute__((vector_size(16)));

LT_INLINE vf vf_load(const float *p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
LT_INLINE void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
LT_INLINE vf vf_load_n(const float *p, int64_t n) {
  vf v = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return v;
}
LT_INLINE void vf_store_n(float *p, vf v, int64_t n) {
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
}
LT_INLINE vf vf_set1(float x) { return (vf){x, x, x, x}; }
LT_INLINE vf vf_zero(void) { return (vf){0.0f, 0.0f, 0.0f, 0.0f}; }
LT_INLINE vf vf_add(vf a, vf b) { return a + b; }
LT_INLINE vf vf_sub(vf a, vf b) { return a - b; }
LT_INLINE vf vf_mul(vf a, vf b) { return a * b; }
LT_INLINE vf vf_div(vf a, vf b) { return a / b; }
LT_INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
LT_INLINE vm vf_lt(vf a, vf b) { return a < b; }
LT_INLINE vm vf_le(vf a, vf b) { return a <= b; }
LT_INLINE vm vf_eq(vf a, vf b) { return a == b; }
LT_INLINE vf vf_blend(vm m, vf a, vf b) { return (vf)(((vm)a & m) | ((vm)b & ~m)); }
LT_INLINE vf vf_neg(vf a) { return -a; }
LT_INLINE vf vf_abs(vf a) { return (vf)((vm)a & 0x7fffffff); }
LT_INLINE vf vf_min(vf a, vf b) { return vf_blend(a < b, a, b); }
LT_INLINE vf vf_max(vf a, vf b) { return vf_blend(a > b, a, b); }

LT_INLINE vf vf_sqrt(vf a) {
  for (int i = 0; i < LT_VL; i++) a[i] = sqrtf(a[i]);
  return a;
}
/* The magnitude of a with the sign of b. */
LT_INLINE vf vf_copysign(vf a, vf b) { return (vf)(((vm)a & 0x7fffffff) | ((vm)b & ~0x7fffffff)); }
/* Adding 2^23 leaves no fraction bits; floats beyond it are integral already. */
LT_INLINE vf vf_round(vf a) {
  vf m = vf_abs(a), r = (m + 0x1p23f) - 0x1p23f;
  return vf_blend(m < 0x1p23f, vf_copysign(r, a), a);
}
LT_INLINE vf vf_floor(vf a) {
  vf r = vf_round(a);
  return vf_blend(r > a, r - 1.0f, r);
}
LT_INLINE vf vf_ceil(vf a) {
  vf r = vf_round(a);
  return vf_copysign(vf_blend(r < a, r + 1.0f, r), a);
}

LT_INLINE vf vf_pow2(vf n) {
  vm e = (vm)n;
  for (int i = 0; i < LT_VL; i++) e[i] = ((int32_t)n[i] + 127) << 23;
  return (vf)e;
}
/* In two steps, because n may be outside the exponents of one factor. */
LT_INLINE vf vf_scale2(vf x, vf n) {
  vf half = vf_round(vf_mul(n, vf_set1(0.5f)));
  return vf_mul(vf_mul(x, vf_pow2(half)), vf_pow2(vf_sub(n, half)));
}
LT_INLINE vf vf_pow2_of(vf t) { return (vf)((vm)t << 23); }
LT_INLINE vf vf_quotient(vf a, vf b) { return vf_div(a, b); }
LT_INLINE vf vf_exponent(vf x) {
  vf r = x;
  vm e = (vm)x >> 23;
  for (int i = 0; i < LT_VL; i++) r[i] = (float)(e[i] - 127);
  return r;
}
LT_INLINE vf vf_mantissa(vf x) { return (vf)(((vm)x & 0x007fffff) | 0x3f800000); }
LT_INLINE float vf_hsum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
LT_INLINE float vf_hmax(vf a) {
  float m = a[0];
  for (int i = 1; i < LT_VL; i++) m = a[i] > m ? a[i] : m;
  return m;
}
LT_INLINE float vf_hmin(vf a) {
  float m = a[0];
  for (int i = 1; i < LT_VL; i++) m = a[i] < m ? a[i] : m;
  return m;
}

#define LT_AK 1
typedef vf va;
LT_INLINE va va_load(const float *p) { return vf_set1(*p); }
LT_INLINE vf vf_fma_lane(vf b, va a, int i, vf c) {
  (void)i;
  return a * b + c;
}

#endif
