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
/* Volatile: GCC would move accumulators about to change the order. Elements are of the first sixteen registers. */
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  switch (i) {
    case 0:
      __asm__ volatile("smlal %0.4s, %1.4h, %2.h[0]" : "+w"(acc) : "w"(b), "x"(a));
      __asm__ volatile("smlal2 %0.4s, %1.8h, %2.h[1]" : "+w"(acc) : "w"(b), "x"(a));
      break;
    case 1:
      __asm__ volatile("smlal %0.4s, %1.4h, %2.h[2]" : "+w"(acc) : "w"(b), "x"(a));
      __asm__ volatile("smlal2 %0.4s, %1.8h, %2.h[3]" : "+w"(acc) : "w"(b), "x"(a));
      break;
    case 2:
      __asm__ volatile("smlal %0.4s, %1.4h, %2.h[4]" : "+w"(acc) : "w"(b), "x"(a));
      __asm__ volatile("smlal2 %0.4s, %1.8h, %2.h[5]" : "+w"(acc) : "w"(b), "x"(a));
      break;
    default:
      __asm__ volatile("smlal %0.4s, %1.4h, %2.h[6]" : "+w"(acc) : "w"(b), "x"(a));
      __asm__ volatile("smlal2 %0.4s, %1.8h, %2.h[7]" : "+w"(acc) : "w"(b), "x"(a));
  }
  return acc;
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
