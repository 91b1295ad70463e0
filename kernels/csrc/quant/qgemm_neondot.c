/* SDOT of armv8.2. */
#define LT_SIMD_NEON
#include "requant.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME neondot
#define LT_QSIZE 1
#define LT_QINNER 4
#include "qdot_neon.h"

LT_INLINE qa qa_lane(qa a, int i) {
  (void)i;
  return a;
}
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  switch (i) {
    case 0: return vdotq_laneq_s32(acc, b, a, 0);
    case 1: return vdotq_laneq_s32(acc, b, a, 1);
    case 2: return vdotq_laneq_s32(acc, b, a, 2);
    default: return vdotq_laneq_s32(acc, b, a, 3);
  }
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
