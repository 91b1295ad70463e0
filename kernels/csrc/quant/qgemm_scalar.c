/* Products of pairs of 16-bit integers, as every architecture compiles them. */
#define LT_SIMD_SCALAR
#include "requant.h"

#define LT_QK 4
#define LT_QAK 1
#define LT_QSIZE 2
#define LT_QINNER 2
#define LT_QSIGN 1

typedef struct {
  int32_t first, second;
} qa;
typedef struct {
  int16_t k[LT_VL][2];
} vb;

LT_INLINE vb vb_load(const uint8_t *p) {
  vb v;
  memcpy(&v, p, sizeof v);
  return v;
}
LT_INLINE qa qa_group(uint64_t bits, int flip) {
  (void)flip;
  return (qa){(int16_t)bits, (int16_t)(bits >> 16)};
}
LT_INLINE qa qa_load(const uint8_t *p, int flip) { return qa_group(lt_load_bytes(p, LT_QK), flip); }
LT_INLINE qa qa_lane(qa a, int i) {
  (void)i;
  return a;
}
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  (void)i;
  for (int j = 0; j < LT_VL; j++) acc[j] += (uint32_t)(a.first * b.k[j][0]) + (uint32_t)(a.second * b.k[j][1]);
  return acc;
}

#include "qgemm.body.h"
#include "../cpu/peak_int8.body.h"
