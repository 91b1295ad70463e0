/* FMLA of eight fp16, armv8.2. Sums of BLOCK words are of fp16, and are then added up in float32: long ones would lose
 * digits. */
#define LT_SIMD_NEON
#include "../simd/simd.h"
#include "../simd/simd_math.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME neonfp16
#define LT_GEMM_TILE
#include "gemm.h"

LT_INLINE void lt_gemm_end(const lt_tile *t, vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const int MR, const int NV);

#define BLOCK 32
#define LANES 8
#define WORDS 4 /* of a register */

/* In the order as written: compilers that move these about run out of registers. By element of a half, a has to be one
 * of the first sixteen. */
LT_INLINE void step_fma(float16x8_t *acc, float16x8_t b, float16x8_t a, const int lane) {
  switch (lane) {
    case 0: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[0]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    case 1: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[1]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    case 2: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[2]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    case 3: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[3]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    case 4: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[4]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    case 5: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[5]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    case 6: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[6]" : "+w"(*acc) : "w"(b), "x"(a)); break;
    default: __asm__ volatile("fmla %0.8h, %1.8h, %2.h[7]" : "+w"(*acc) : "w"(b), "x"(a));
  }
}

/* The step over `COUNT` k of registers that hold as many of each row. */
LT_INLINE void fp16_step(const int MR, const int NV, const int COUNT, float16x8_t acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV],
                         const float16x8_t *a, const float16_t *b) {
#pragma GCC unroll 8
  for (int i = 0; i < COUNT; i++) {
    float16x8_t bv[LT_GEMM_MAX_NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) bv[j] = vld1q_f16(b + (i * NV + j) * LANES);
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) step_fma(&acc[m][j], bv[j], a[m], i);
    }
  }
}

/* Add the fp16 sums of a block to those of float32. */
LT_INLINE void fp16_flush(const int MR, const int NV, float16x8_t acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV],
                          float sums[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV * LANES]) {
#pragma GCC unroll 14
  for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      float *s = sums[m] + j * LANES;
      vf_store(s, vf_add(vf_load(s), vcvt_f32_f16(vget_low_f16(acc[m][j]))));
      vf_store(s + 4, vf_add(vf_load(s + 4), vcvt_high_f32_f16(acc[m][j])));
    }
  }
}

LT_INLINE void fp16_end(const lt_tile *t, const float *sums, const int NV) {
  vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV];
#pragma GCC unroll 2
  for (int j = 0; j < NV; j++) {
    acc[0][j] = vf_load(sums + j * LT_VL);
    if (t->from) acc[0][j] = vf_add(acc[0][j], vf_load_n(t->from + j * LT_VL, j < NV - 1 ? LT_VL : t->tail));
  }
  lt_gemm_end(t, acc, 1, NV);
}

LT_INLINE void lt_gemm_tile(const lt_tile *t, const int MR, const int NV, const int KU) {
  (void)KU;
  float sums[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV * LANES];
#pragma GCC unroll 14
  for (int m = 0; m < MR; m++) memset(sums[m], 0, NV * LANES * sizeof(float));
  const float16_t *b = (const float16_t *)t->b;
  for (int64_t s = 0; s < t->nseg; s++) {
    const float *row[LT_GEMM_MAX_MR];
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) row[m] = t->a + t->seg[s] + m * t->lda;
    for (int64_t left = t->kseg; left > 0; left -= BLOCK) {
      float16x8_t acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], a[LT_GEMM_MAX_MR];
#pragma GCC unroll 14
      for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) acc[m][j] = vdupq_n_f16(0);
      }
      int64_t k = left < BLOCK ? left : BLOCK;
      for (; k >= WORDS; k -= WORDS, b += NV * LANES * 2 * WORDS) {
#pragma GCC unroll 14
        for (int m = 0; m < MR; m++) {
          a[m] = vreinterpretq_f16_f32(vf_load(row[m]));
          row[m] += WORDS;
        }
        fp16_step(MR, NV, 2 * WORDS, acc, a, b);
      }
      for (; k > 0; k--, b += NV * LANES * 2) {
#pragma GCC unroll 14
        for (int m = 0; m < MR; m++) a[m] = vreinterpretq_f16_f32(vld1q_dup_f32(row[m]++));
        fp16_step(MR, NV, 2, acc, a, b);
      }
      fp16_flush(MR, NV, acc, sums);
    }
  }
  lt_tile part = *t;
  part.cvs = LT_VL;
  for (int m = 0; m < MR; m++) {
    for (int j = 0; j < NV; j++) {
      const int64_t columns = j < NV - 1 ? LANES : t->tail;
      part.c = t->c + m * t->ldc + j * LANES;
      part.from = t->from ? t->from + m * t->ldf + j * LANES : 0;
      part.bias = t->bias ? t->bias + j * LANES : 0;
      part.residual = t->residual ? t->residual + m * t->ldr + j * LANES : 0;
      part.tail = columns > LT_VL ? columns - LT_VL : columns;
      if (columns > LT_VL) {
        fp16_end(&part, sums[m] + j * LANES, 2);
      } else {
        fp16_end(&part, sums[m] + j * LANES, 1);
      }
    }
  }
}

#include "gemm.body.h"

void lt_half_copy_neonfp16(uint16_t *dst, const float *src, int64_t count) {
  float16_t *to = (float16_t *)dst;
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    vst1q_f16(to + i, vcvt_high_f16_f32(vcvt_f16_f32(vld1q_f32(src + i)), vld1q_f32(src + i + 4)));
  for (; i < count; i++) to[i] = (float16_t)src[i];
}
