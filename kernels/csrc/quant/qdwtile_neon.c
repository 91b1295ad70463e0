/* Register tiles of the quantised depthwise convolution for NEON: each input byte is widened once for all the outputs
 * of its row that it meets, sixteen channels at a time. */
#include <arm_neon.h>
#include <stddef.h>

#include "quant/qdwconv.h"
#include "quant/qdwtile.variants.h"

#define QDW_INLINE static inline __attribute__((always_inline, unused))
#define QDW_LANES 16

/* What leaves a tile as bytes. */
typedef struct {
  int16x8_t zero;
  uint8x16_t low, high; /* of bytes with `sign` flipped, which are unsigned */
  uint8x16_t sign;
} qdw_end;

/* Conversions saturate. */
QDW_INLINE int16x4_t qdw_round(int32x4_t acc, const float *scale) {
  return vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(acc), vld1q_f32(scale))));
}

/* A zero of int8 is that of unsigned bytes here, so that saturation to these is right for both. */
QDW_INLINE void qdw_finish(const qdw_end *end, uint8_t *y, const int32x4_t acc[4], const float *scale) {
  const int16x8_t low = vcombine_s16(qdw_round(acc[0], scale), qdw_round(acc[1], scale + 4));
  const int16x8_t high = vcombine_s16(qdw_round(acc[2], scale + 8), qdw_round(acc[3], scale + 12));
  const uint8x16_t v = vcombine_u8(vqmovun_s16(vqaddq_s16(low, end->zero)), vqmovun_s16(vqaddq_s16(high, end->zero)));
  vst1q_u8(y, veorq_u8(vminq_u8(vmaxq_u8(v, end->low), end->high), end->sign));
}

/* Half of the block of channels from c on. */
QDW_INLINE void qdw_half(const lt_qdw_tile *t, uint8_t *y, const qdw_end *end, int64_t c, const int16_t *w,
                         const int32_t *init, const float *scale, const int KW, const int S, const int OWT,
                         const int FLIP) {
  const int cols = (OWT - 1) * S + KW;
  const uint8x16_t flip = vdupq_n_u8(0x80);
  int32x4_t acc[LT_QDW_MAX_OWT][4];
#pragma GCC unroll 4
  for (int v = 0; v < 4; v++) {
#pragma GCC unroll 4
    for (int o = 0; o < OWT; o++) acc[o][v] = vld1q_s32(init + 4 * v);
  }
  const uint8_t *const *x = t->x;
  for (int64_t kh = 0; kh < t->kh; kh++, x += cols, w += KW * LT_QDW_BLOCK) {
    int16x8_t taps[5][2];
#pragma GCC unroll 5
    for (int k = 0; k < KW; k++) {
      taps[k][0] = vld1q_s16(w + k * LT_QDW_BLOCK);
      taps[k][1] = vld1q_s16(w + k * LT_QDW_BLOCK + 8);
    }
#pragma GCC unroll 11
    for (int e = 0; e < cols; e++) {
      uint8x16_t bytes = vld1q_u8(x[e] + c);
      if (FLIP) bytes = veorq_u8(bytes, flip);
      const int16x8_t a = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes)));
      const int16x8_t b = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
#pragma GCC unroll 5
      for (int k = 0; k < KW; k++) {
        const int o = (e - k) / S;
        if (e >= k && (e - k) % S == 0 && o < OWT) {
          acc[o][0] = vmlal_s16(acc[o][0], vget_low_s16(a), vget_low_s16(taps[k][0]));
          acc[o][1] = vmlal_high_s16(acc[o][1], a, taps[k][0]);
          acc[o][2] = vmlal_s16(acc[o][2], vget_low_s16(b), vget_low_s16(taps[k][1]));
          acc[o][3] = vmlal_high_s16(acc[o][3], b, taps[k][1]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int o = 0; o < OWT; o++) qdw_finish(end, y + o * t->ldy + c, acc[o], scale);
}

QDW_INLINE void qdw_tiles(lt_qdw_tile *t, const int KW, const int S, const int OWT, const int FLIP) {
  const int cols = (OWT - 1) * S + KW, lowest = t->y_signed ? -128 : 0;
  const qdw_end end = {.zero = vdupq_n_s16((int16_t)(t->y_zero - lowest)),
                       .low = vdupq_n_u8((uint8_t)(t->y_min - lowest)),
                       .high = vdupq_n_u8((uint8_t)(t->y_max - lowest)),
                       .sign = vdupq_n_u8((uint8_t)lowest)};
  uint8_t *y = t->y;
  for (int64_t n = t->count;; y += OWT * t->ldy) {
    const int16_t *w = t->w;
    const lt_qdw_block *p = t->blocks;
    for (int64_t c = t->c0; c < t->c1; c += LT_QDW_BLOCK, w += t->kh * KW * LT_QDW_BLOCK, p++) {
      const int64_t first = c < t->last ? c : t->last;
      for (int64_t h = 0; h < LT_QDW_BLOCK; h += QDW_LANES)
        qdw_half(t, y, &end, first + h, w + h, p->init + h, p->scale + h, KW, S, OWT, FLIP);
    }
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

#define QDW_DEFINE(KW, S, OWT) \
  static void qdw_##KW##_##S##_##OWT(lt_qdw_tile *t) { qdw_tile(t, KW, S, OWT); }
LT_QDW_VARIANTS_neon(QDW_DEFINE)

    lt_qdw_tile_fn *lt_qdw_tile_neon(int64_t kw, int64_t s, int64_t owt) {
  static lt_qdw_tile_fn *const table[6][3][LT_QDW_MAX_OWT + 1] = {
#define QDW_ENTRY(KW, S, OWT) [KW][S][OWT] = qdw_##KW##_##S##_##OWT,
      LT_QDW_VARIANTS_neon(QDW_ENTRY)};
  if (kw < 1 || kw > 5 || s < 1 || s > 2 || owt < 1 || owt > LT_QDW_MAX_OWT) return 0;
  return table[kw][s][owt];
}
