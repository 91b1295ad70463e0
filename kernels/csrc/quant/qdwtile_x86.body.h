/* Register tiles of the quantised depthwise convolution with 256-bit vectors, in every instruction set from AVX2 on:
 * define LT_QDW_ISA, LT_QDW_GROUP (see qdwconv.h) and qdw_dot before. Interleaving by unpack and narrowing by pack work
 * within halves and undo each other, so that bytes stay in order. */
#include <immintrin.h>
#include <stddef.h>

#include "quant/qdwconv.h"
#include "quant/qdwtile.variants.h"

#define QDW_INLINE static inline __attribute__((always_inline, unused))

typedef struct {
  __m256i lo, hi;
} qdw_pair;

QDW_INLINE __m256i qdw_load(const void *p) { return _mm256_loadu_si256(p); }

/* 32 bytes made unsigned. */
QDW_INLINE __m256i qdw_bytes(const uint8_t *p, const int FLIP) {
  return FLIP ? _mm256_xor_si256(qdw_load(p), _mm256_set1_epi8((char)0x80)) : qdw_load(p);
}

/* Bytes of columns e and e + 1 side by side; there is no column from `cols` on, where weights are 0. */
QDW_INLINE qdw_pair qdw_pair_at(const uint8_t *const *x, int64_t c, const int FLIP, int e, const int cols) {
  const __m256i a = qdw_bytes(x[e] + c, FLIP), b = e + 1 < cols ? qdw_bytes(x[e + 1] + c, FLIP) : a;
  return (qdw_pair){_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
}

/* The four vectors of a group of columns, of two pairs or of one. */
QDW_INLINE void qdw_group(__m256i q[4], qdw_pair a, qdw_pair b) {
  if (LT_QDW_GROUP == 4) {
    q[0] = _mm256_unpacklo_epi16(a.lo, b.lo);
    q[1] = _mm256_unpackhi_epi16(a.lo, b.lo);
    q[2] = _mm256_unpacklo_epi16(a.hi, b.hi);
    q[3] = _mm256_unpackhi_epi16(a.hi, b.hi);
  } else {
    const __m256i zero = _mm256_setzero_si256();
    q[0] = _mm256_unpacklo_epi8(a.lo, zero);
    q[1] = _mm256_unpackhi_epi8(a.lo, zero);
    q[2] = _mm256_unpacklo_epi8(a.hi, zero);
    q[3] = _mm256_unpackhi_epi8(a.hi, zero);
  }
}

/* What leaves a tile as bytes. */
typedef struct {
  __m256i zero, low, high;
  int wide, y_signed;
} qdw_end;

/* What is too low for a conversion becomes the lowest integer, and saturates; so may what is high not do. */
QDW_INLINE __m256i qdw_round(const qdw_end *end, __m256i acc, const float *scale) {
  __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(scale));
  if (end->wide) v = _mm256_min_ps(v, _mm256_set1_ps(INT16_MAX));
  return _mm256_cvtps_epi32(v);
}

QDW_INLINE void qdw_finish(const qdw_end *end, uint8_t *y, const __m256i acc[4], const float *scale) {
  const __m256i r01 = _mm256_packs_epi32(qdw_round(end, acc[0], scale), qdw_round(end, acc[1], scale + 8));
  const __m256i r23 = _mm256_packs_epi32(qdw_round(end, acc[2], scale + 16), qdw_round(end, acc[3], scale + 24));
  const __m256i s01 = _mm256_adds_epi16(r01, end->zero), s23 = _mm256_adds_epi16(r23, end->zero);
  const __m256i v = end->y_signed
                        ? _mm256_min_epi8(_mm256_max_epi8(_mm256_packs_epi16(s01, s23), end->low), end->high)
                        : _mm256_min_epu8(_mm256_max_epu8(_mm256_packus_epi16(s01, s23), end->low), end->high);
  _mm256_storeu_si256((__m256i *)y, v);
}

/* The block of channels from c on. */
QDW_INLINE void qdw_block(const lt_qdw_tile *t, uint8_t *y, const qdw_end *end, int64_t c, const __m256i *w,
                          const lt_qdw_block *p, const int KW, const int S, const int OWT, const int FLIP) {
  const int cols = (OWT - 1) * S + KW, groups = (KW + LT_QDW_GROUP) / LT_QDW_GROUP, parities = S == 1 ? 2 : 1;
  __m256i acc[LT_QDW_MAX_OWT][4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
#pragma GCC unroll 4
    for (int o = 0; o < OWT; o++) acc[o][v] = qdw_load(p->init + 8 * v);
  }
  const uint8_t *const *x = t->x;
  for (int64_t kh = 0; kh < t->kh; kh++, x += cols, w += parities * groups * 4) {
    qdw_pair next = qdw_pair_at(x, c, FLIP, 0, cols);
#pragma GCC unroll 8
    for (int e = 0; e < cols; e += 2) {
      const qdw_pair pair = next;
      if (e + 2 < cols) next = qdw_pair_at(x, c, FLIP, e + 2, cols);
      __m256i q[4];
      qdw_group(q, pair, next);
#pragma GCC unroll 4
      for (int o = 0; o < OWT; o++) {
        const int parity = S * o % 2, from = S * o - parity, group = (e - from) / LT_QDW_GROUP;
        if (e >= from && (e - from) % LT_QDW_GROUP == 0 && group < groups) {
#pragma GCC unroll 4
          for (int v = 0; v < 4; v++)
            acc[o][v] = qdw_dot(acc[o][v], q[v], qdw_load(w + (parity * groups + group) * 4 + v));
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < OWT; o++) qdw_finish(end, y + o * t->ldy + c, acc[o], p->scale);
}

QDW_INLINE void qdw_tiles(lt_qdw_tile *t, const int KW, const int S, const int OWT, const int FLIP) {
  const int cols = (OWT - 1) * S + KW, groups = (KW + LT_QDW_GROUP) / LT_QDW_GROUP, parities = S == 1 ? 2 : 1;
  const int64_t w_block = t->kh * parities * groups * 4;
  const qdw_end end = {.zero = _mm256_set1_epi16((int16_t)t->y_zero),
                       .low = _mm256_set1_epi8((char)t->y_min),
                       .high = _mm256_set1_epi8((char)t->y_max),
                       .wide = t->wide,
                       .y_signed = t->y_signed};
  uint8_t *y = t->y;
  for (int64_t n = t->count;; y += OWT * t->ldy) {
    const __m256i *w = t->w;
    const lt_qdw_block *p = t->blocks;
    for (int64_t c = t->c0; c < t->c1; c += LT_QDW_BLOCK, w += w_block, p++)
      qdw_block(t, y, &end, c < t->last ? c : t->last, w, p, KW, S, OWT, FLIP);
    if (--n == 0) return;
    for (int64_t k = t->r0 * cols; k < t->r1 * cols; k++) t->x[k] += t->step;
  }
}

QDW_INLINE void qdw_tile(lt_qdw_tile *t, const int KW, const int S, const int OWT) {
  if (t->x_signed)
    qdw_tiles(t, KW, S, OWT, 1);
  else
    qdw_tiles(t, KW, S, OWT, 0);
}

#define QDW_CAT_(a, b) a##b
#define QDW_CAT(a, b) QDW_CAT_(a, b)

#define QDW_DEFINE(KW, S, OWT) \
  static void qdw_##KW##_##S##_##OWT(lt_qdw_tile *t) { qdw_tile(t, KW, S, OWT); }
QDW_CAT(LT_QDW_VARIANTS_, LT_QDW_ISA)(QDW_DEFINE)

    lt_qdw_tile_fn *QDW_CAT(lt_qdw_tile_, LT_QDW_ISA)(int64_t kw, int64_t s, int64_t owt) {
  static lt_qdw_tile_fn *const table[6][3][LT_QDW_MAX_OWT + 1] = {
#define QDW_ENTRY(KW, S, OWT) [KW][S][OWT] = qdw_##KW##_##S##_##OWT,
      QDW_CAT(LT_QDW_VARIANTS_, LT_QDW_ISA)(QDW_ENTRY)};
  if (kw < 1 || kw > 5 || s < 1 || s > 2 || owt < 1 || owt > LT_QDW_MAX_OWT) return 0;
  return table[kw][s][owt];
}
