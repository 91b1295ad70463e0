/* 8-bit products of armv8.0: two products are added in 16 bits, which is exact for weights from -127 to 127, then two
 * of these sums in 32. */
#define LT_SIMD_NEON
#include "requant.h"

#undef LT_ISA_NAME
#define LT_ISA_NAME neonmull
#define LT_QSIZE 1
#define LT_QINNER 2
#include "qdot_neon.h"

/* The first two bytes of group i four times, then its last two four times. */
LT_INLINE qa qa_lane(qa a, int i) {
  const uint16x8_t pairs = {0x0100, 0x0100, 0x0100, 0x0100, 0x0302, 0x0302, 0x0302, 0x0302};
  const uint8x16_t index = vreinterpretq_u8_u16(vaddq_u16(pairs, vdupq_n_u16((uint16_t)(0x0404 * i))));
  return vqtbl1q_s8(a, index);
}
/* Volatile: GCC would move accumulators about to change the order. */
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  (void)i;
  const int16x8_t products = vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b);
  __asm__ volatile("sadalp %0.4s, %1.8h" : "+w"(acc) : "w"(products));
  return acc;
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
