/* Products of NEON: a register holds four groups of a row, of four bytes or two 16-bit integers. Before this file:
 * LT_QSIZE, LT_QINNER, and q_dot, qa_lane. */
#ifndef LT_QDOT_NEON_H
#define LT_QDOT_NEON_H

#define LT_QK 4
#define LT_QAK 4
#define LT_QSIGN 1

typedef int8x16_t qa, vb;

LT_INLINE vb vb_load(const uint8_t *p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
LT_INLINE qa qa_group(uint64_t bits, int flip) {
  return vreinterpretq_s8_u32(vdupq_n_u32((uint32_t)bits ^ (flip ? 0x80808080u : 0u)));
}
LT_INLINE qa qa_load(const uint8_t *p, int flip) {
  const uint8x16_t v = vld1q_u8(p);
  return vreinterpretq_s8_u8(flip ? veorq_u8(v, vdupq_n_u8(0x80)) : v);
}

#endif
