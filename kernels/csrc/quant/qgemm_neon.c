/* 16-bit products of armv8.0: exact for every weight less its zero point. */
#define LT_SIMD_NEON
#include "requant.h"

#define LT_QSIZE 2
#define LT_QINNER 1
#include "qdot_neon.h"

LT_INLINE qa qa_lane(qa a, int i) {
  (void)i;
  return a;
}
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  const int16x8_t k = vreinterpretq_s16_s8(a), w = vreinterpretq_s16_s8(b);
  const int16x4_t low = vget_low_s16(w);
  switch (i) {
    case 0: return vmlal_high_laneq_s16(vmlal_laneq_s16(acc, low, k, 0), w, k, 1);
    case 1: return vmlal_high_laneq_s16(vmlal_laneq_s16(acc, low, k, 2), w, k, 3);
    case 2: return vmlal_high_laneq_s16(vmlal_laneq_s16(acc, low, k, 4), w, k, 5);
    default: return vmlal_high_laneq_s16(vmlal_laneq_s16(acc, low, k, 6), w, k, 7);
  }
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
