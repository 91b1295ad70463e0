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
/* Volatile: GCC would move accumulators about to change the order. */
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  switch (i) {
    case 0: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[0]" : "+w"(acc) : "w"(b), "w"(a)); break;
    case 1: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[1]" : "+w"(acc) : "w"(b), "w"(a)); break;
    case 2: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[2]" : "+w"(acc) : "w"(b), "w"(a)); break;
    default: __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[3]" : "+w"(acc) : "w"(b), "w"(a));
  }
  return acc;
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
