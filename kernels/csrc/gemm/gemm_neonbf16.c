/* BFMMLA of armv8.6: two rows by two columns over four k in an instruction. */
#define LT_SIMD_NEON
#include "../simd/simd.h"
#include "../simd/simd_math.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME neonbf16
#define LT_GEMM_TILE
#include "gemm.h"

LT_INLINE void lt_gemm_end(const lt_tile *t, vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const int MR, const int NV);

#define PAIRS (LT_GEMM_MAX_MR / 2)

/* The step of all rows and columns over four k: a holds pairs of rows, b pairs of columns. */
LT_INLINE void bf16_step(const int PR, const int NV, vf sums[PAIRS][LT_GEMM_MAX_NV][2], const bfloat16x8_t *a,
                         const bfloat16_t *b) {
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const bfloat16x8_t w = vld1q_bf16(b + (2 * j + h) * 8);
#pragma GCC unroll 7
      for (int p = 0; p < PR; p++) sums[p][j][h] = vbfmmlaq_f32(sums[p][j][h], a[p], w);
    }
  }
}

/* With an odd number of rows the last one is its own partner. */
LT_INLINE void lt_gemm_tile(const lt_tile *t, const int MR, const int NV, const int KU) {
  (void)KU;
  const int PR = (MR + 1) / 2, last = NV - 1;
  vf sums[PAIRS][LT_GEMM_MAX_NV][2];
#pragma GCC unroll 7
  for (int p = 0; p < PR; p++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) sums[p][j][0] = sums[p][j][1] = vf_zero();
  }
  const bfloat16_t *b = (const bfloat16_t *)t->b;
  for (int64_t s = 0; s < t->nseg; s++) {
    const bfloat16_t *row[LT_GEMM_MAX_MR];
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) row[m] = (const bfloat16_t *)(t->a + t->seg[s] + m * t->lda);
    for (int64_t k = t->kseg; k > 0; k -= 2, b += NV * LT_VL * 4) {
      bfloat16x8_t a[PAIRS];
#pragma GCC unroll 7
      for (int p = 0; p < PR; p++) {
        const int second = 2 * p + 1 < MR ? 2 * p + 1 : 2 * p;
        a[p] = vcombine_bf16(vld1_bf16(row[2 * p]), vld1_bf16(row[second]));
        row[2 * p] += 4;
        if (second != 2 * p) row[second] += 4;
      }
      bf16_step(PR, NV, sums, a, b);
    }
  }
  vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV];
#pragma GCC unroll 7
  for (int p = 0; p < PR; p++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      const float64x2_t left = vreinterpretq_f64_f32(sums[p][j][0]), right = vreinterpretq_f64_f32(sums[p][j][1]);
      acc[2 * p][j] = vreinterpretq_f32_f64(vzip1q_f64(left, right));
      if (2 * p + 1 < MR) acc[2 * p + 1][j] = vreinterpretq_f32_f64(vzip2q_f64(left, right));
    }
  }
  if (t->from) {
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
      const float *from = t->from + m * t->ldf;
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++)
        acc[m][j] = vf_add(acc[m][j], j < last ? vf_load(from + j * LT_VL) : vf_load_n(from + j * LT_VL, t->tail));
    }
  }
  lt_gemm_end(t, acc, MR, NV);
}

#include "gemm.body.h"

void lt_half_copy_neonbf16(uint16_t *dst, const float *src, int64_t count) {
  bfloat16_t *to = (bfloat16_t *)dst;
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    vst1q_bf16(to + i, vcvtq_high_bf16_f32(vcvtq_low_bf16_f32(vld1q_f32(src + i)), vld1q_f32(src + i + 4)));
  for (; i < count; i++) to[i] = vcvth_bf16_f32(src[i]);
}
