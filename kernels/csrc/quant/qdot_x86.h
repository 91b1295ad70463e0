/* Products of x86: four bytes, or two 16-bit integers, of a row are broadcast and meet a vector of B that holds as many
 * k of each column. Before this file: LT_QSIZE, and Q_DOT(acc, a, b) over vectors of type vi. */
#ifndef LT_QDOT_X86_H
#define LT_QDOT_X86_H

#define LT_QK 4
#define LT_QAK 1
#define LT_QINNER (LT_QK / LT_QSIZE)
#define LT_QSIGN (LT_QSIZE == 2)

typedef vi qa, vb;

LT_INLINE vb vb_load(const uint8_t *p) { return vi_load((const int32_t *)p); }
LT_INLINE qa qa_group(uint64_t bits, int flip) {
  return vi_set1((int32_t)((uint32_t)bits ^ (flip ? 0x80808080u : 0u)));
}
LT_INLINE qa qa_load(const uint8_t *p, int flip) {
  int32_t bits;
  memcpy(&bits, p, sizeof bits);
  return flip ? vi_xor(vi_set1(bits), vi_set1((int32_t)0x80808080)) : vi_set1(bits);
}
LT_INLINE qa qa_lane(qa a, int i) {
  (void)i;
  return a;
}
LT_INLINE vi q_dot(vi acc, qa a, int i, vb b) {
  (void)i;
  return Q_DOT(acc, a, b);
}

#endif
