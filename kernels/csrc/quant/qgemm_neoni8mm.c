/* SMMLA of armv8.6: two rows by two columns over eight k in an instruction. */
#define LT_SIMD_NEON
#include "requant.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME neoni8mm
#define LT_QK 8
#define LT_QSIZE 1
#define LT_QINNER 8
#define LT_QSIGN 1
#define LT_QPAIRS
#include "qgemm.h"
#include "qgemm.variants.h"

typedef int8x16_t qa, vb;

LT_INLINE vb vb_load(const uint8_t *p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
LT_INLINE qa qa_group(uint64_t bits, int flip) {
  return vreinterpretq_s8_u64(vdupq_n_u64(bits ^ (flip ? 0x8080808080808080u : 0u)));
}
LT_INLINE qa qa_lane(qa a, int i) {
  (void)i;
  return a;
}
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  (void)i;
  return vmmlaq_s32(acc, a, b);
}

LT_INLINE void q_start(const lt_qtile *t, const int NV, vi *start);
LT_INLINE void q_end(const lt_qtile *t, const int MR, const int NV, vi acc[LT_QGEMM_MAX_MR][LT_QGEMM_MAX_NV]);

/* The step of all rows and columns over one group: a holds pairs of rows, b pairs of columns. */
#define PAIRS (LT_QGEMM_MAX_MR / 2)

LT_INLINE void q_group(const int PR, const int NV, vi acc[PAIRS][LT_QGEMM_MAX_NV][2], const qa *a, const uint8_t *b) {
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const vb w = vb_load(b + (2 * j + h) * 16);
#pragma GCC unroll 7
      for (int p = 0; p < PR; p++) acc[p][j][h] = q_dot(acc[p][j][h], a[p], 0, w);
    }
  }
}

/* With an odd number of rows the last one is its own partner. */
LT_INLINE void lt_qgemm_tile(const lt_qtile *t, const int MR, const int NV, const int FLIP) {
  const int PR = (MR + 1) / 2;
  const uint8x8_t flip = vdup_n_u8(FLIP ? 0x80 : 0);
  vi sums[PAIRS][LT_QGEMM_MAX_NV][2], start[LT_QGEMM_MAX_NV];
  q_start(t, NV, start);
#pragma GCC unroll 7
  for (int p = 0; p < PR; p++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      sums[p][j][0] = vcombine_s32(vget_low_s32(start[j]), vget_low_s32(start[j]));
      sums[p][j][1] = vcombine_s32(vget_high_s32(start[j]), vget_high_s32(start[j]));
    }
  }
  const uint8_t *b = t->b + NV * LT_VL * 4;
  for (int64_t s = 0; s < t->nseg; s++) {
    const uint8_t *row[LT_QGEMM_MAX_MR];
    qa a[PAIRS];
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) row[m] = t->seg[s] + t->offset + m * t->lda;
    for (int64_t g = 0; g < t->groups; g++, b += NV * LT_VL * LT_QK) {
#pragma GCC unroll 7
      for (int p = 0; p < PR; p++) {
        const int second = 2 * p + 1 < MR ? 2 * p + 1 : 2 * p;
        uint8x16_t v = vcombine_u8(vld1_u8(row[2 * p]), vld1_u8(row[second]));
        a[p] = vreinterpretq_s8_u8(FLIP ? veorq_u8(v, vcombine_u8(flip, flip)) : v);
        row[2 * p] += LT_QK;
        if (second != 2 * p) row[second] += LT_QK;
      }
      q_group(PR, NV, sums, a, b);
    }
    if (t->tail_bytes) {
#pragma GCC unroll 7
      for (int p = 0; p < PR; p++) {
        const int second = 2 * p + 1 < MR ? 2 * p + 1 : 2 * p;
        const uint8x8_t one = vcreate_u8(lt_load_bytes(row[2 * p], t->tail_bytes));
        const uint8x8_t two = vcreate_u8(lt_load_bytes(row[second], t->tail_bytes));
        a[p] = vreinterpretq_s8_u8(vcombine_u8(veor_u8(one, flip), veor_u8(two, flip)));
      }
      q_group(PR, NV, sums, a, b);
      b += NV * LT_VL * LT_QK;
    }
  }
  vi acc[LT_QGEMM_MAX_MR][LT_QGEMM_MAX_NV];
#pragma GCC unroll 7
  for (int p = 0; p < PR; p++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      const int64x2_t left = vreinterpretq_s64_s32(sums[p][j][0]), right = vreinterpretq_s64_s32(sums[p][j][1]);
      acc[2 * p][j] = vreinterpretq_s32_s64(vzip1q_s64(left, right));
      if (2 * p + 1 < MR) acc[2 * p + 1][j] = vreinterpretq_s32_s64(vzip2q_s64(left, right));
    }
  }
  q_end(t, MR, NV, acc);
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
