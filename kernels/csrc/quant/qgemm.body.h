/* The micro-kernel on bytes, over simd.h, requant.h and the products of one instruction set:
 *
 *   LT_QK                       bytes in a group of A
 *   LT_QAK                      groups of one row in a register of A
 *   LT_QSIZE, LT_QSIGN          as in lt_qformat
 *   qa; qa_load(p, flip)        LT_QAK groups of a row
 *   qa_group(bits, flip)        one group, from the low LT_QK bytes of an integer
 *   qa_lane(a, i)               group i of a register, in the form that q_dot wants (i is a constant after unrolling)
 *   q_dot(acc, a, i, b)         acc + products of group i with one vector of B
 *
 * MR and NV are constants at every call, so all loops over them unroll and the accumulators live in registers.
 */
#ifndef LT_QGEMM_BODY_H
#define LT_QGEMM_BODY_H

#include "qgemm.h"
#include "qgemm.variants.h"

/* What every row of a tile begins with: bias less the zero of A times the sums of the columns. */
LT_INLINE void q_start(const lt_qtile *t, const int NV, vi *start) {
  const vi zero = vi_set1(t->zero);
  const int32_t *sums = (const int32_t *)t->b;
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++) {
    start[j] = vi_mul(vi_load(sums + j * LT_VL), zero);
    if (t->bias) {
      const int32_t *bias = t->bias + j * LT_VL;
      start[j] = vi_sub(j < NV - 1 ? vi_load(bias) : vi_load_n(bias, t->tail), start[j]);
    } else {
      start[j] = vi_sub(vi_set1(0), start[j]);
    }
  }
}

/* The quantised sum of a byte, given as a whole number in a float, and the residual. What is too small converts to the
 * smallest integer, as in q_store_bytes. */
LT_INLINE vi q_add(const lt_qend *e, vf own, const uint8_t *residual, int64_t lanes) {
  const vf y_ratio = vf_set1(e->y_ratio), r_ratio = vf_set1(e->r_ratio), offset = vf_set1(e->sum_offset);
  const vi flip = vi_set1(e->y_type == LT_I8 ? 0x80 : 0);
  const vf other = vf_from_vi(vi_sub(vi_xor(vi_load_bytes(residual, 0, lanes), flip), flip));
  const vf sum = e->r_first ? vf_fused(other, r_ratio, vf_fused(own, y_ratio, offset))
                            : vf_fused(own, y_ratio, vf_fused(other, r_ratio, offset));
  return vi_from_vf(vf_min(vf_set1(e->sum_high), sum));
}

/* Added to a float between -2^22 and 2^22 it rounds to a whole number, to nearest even; taken off again, that is exact.
 */
#define Q_WHOLE 12582912.0f /* 1.5 2^23 */

/* Four vectors at a time become bytes. Packing saturates, so that only what could be too large to convert is clamped
 * before: what is too small converts to the smallest integer. Bytes are those of uint8 until the end. */
LT_INLINE void q_store_bytes(const lt_qtile *t, const int MR, const int NV, vi acc[LT_QGEMM_MAX_MR][LT_QGEMM_MAX_NV],
                             const int RESIDUAL) {
  const lt_qend *e = t->end;
  const int count = MR * NV, last = NV - 1, lowest = e->y_type == LT_I8 ? -128 : 0;
  const vf low = vf_set1(e->low), high = vf_set1(e->high);
  const vf whole = vf_set1(Q_WHOLE), rest = vf_set1(Q_WHOLE - (float)e->y_zero);
  const vp least = vp_set1((RESIDUAL ? e->sum_min : e->y_min) - lowest), sign = vp_set1(lowest);
  vf scale[LT_QGEMM_MAX_NV];
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++)
    scale[j] = j < last ? vf_load(t->scale + j * LT_VL) : vf_load_n(t->scale + j * LT_VL, t->tail);
#pragma GCC unroll 7
  for (int i = 0; i < count; i += 4) {
    vi q[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
      const int at = i + v < count ? i + v : i, m = at / NV, j = at % NV;
      if (RESIDUAL) {
        const int64_t lanes = j < last ? LT_VL : t->tail;
        const vf own = vf_min(high, vf_max(low, vf_mul(vf_from_vi(acc[m][j]), scale[j])));
        q[v] = q_add(e, vf_sub(vf_add(own, whole), rest), t->residual + m * t->ldr + j * LT_VL, lanes);
      } else {
        q[v] = vi_from_vf(vf_min(high, vf_mul(vf_from_vi(acc[m][j]), scale[j])));
      }
    }
    const int shift = (RESIDUAL ? 0 : e->y_zero) - lowest;
    const vp bytes = vp_xor(vp_max(vp_pack(q[0], q[1], q[2], q[3], shift), least), sign);
#pragma GCC unroll 4
    for (int v = 0; v < 4; v++) {
      const int m = (i + v) / NV, j = (i + v) % NV;
      uint8_t *c = (uint8_t *)t->c + m * t->ldc + j * LT_VL;
      if (i + v >= count) break;
      if (NV % 2 == 0 && (j < last - 1 || t->tail == LT_VL)) {
        if (j % 2 == 0) vp_store_two(c, bytes, v);
      } else {
        vp_store(c, bytes, v, j < last ? LT_VL : t->tail);
      }
    }
  }
}

/* Store a tile, requantised to bytes or as it is. */
LT_INLINE void q_end(const lt_qtile *t, const int MR, const int NV, vi acc[LT_QGEMM_MAX_MR][LT_QGEMM_MAX_NV]) {
  const int64_t tail = t->tail;
  const int last = NV - 1;
  if (!t->scale) {
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
      int32_t *c = (int32_t *)t->c + m * t->ldc;
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) {
        if (j < last || tail == LT_VL) {
          vi_store(c + j * LT_VL, acc[m][j]);
        } else {
          vi_store_n(c + j * LT_VL, acc[m][j], tail);
        }
      }
    }
    return;
  }
  if (t->residual) {
    q_store_bytes(t, MR, NV, acc, 1);
  } else {
    q_store_bytes(t, MR, NV, acc, 0);
  }
}

#ifndef LT_QPAIRS /* one row of A in a register */

LT_INLINE void lt_qgemm_tile(const lt_qtile *t, const int MR, const int NV, const int FLIP) {
  vi acc[LT_QGEMM_MAX_MR][LT_QGEMM_MAX_NV], start[LT_QGEMM_MAX_NV];
  const int64_t lda = t->lda;
  q_start(t, NV, start);
#pragma GCC unroll 14
  for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) acc[m][j] = start[j];
  }
  const uint8_t *b = t->b + NV * LT_VL * 4;
  for (int64_t s = 0; s < t->nseg; s++) {
    /* One pointer for three rows: x86 addresses reach base, base + lda and base + 2 lda. */
    const uint8_t *row[(LT_QGEMM_MAX_MR + 2) / 3];
#pragma GCC unroll 14
    for (int m = 0; m < MR; m += 3) row[m / 3] = t->seg[s] + t->offset + m * lda;
    int64_t groups = t->groups;
    for (; groups >= LT_QAK; groups -= LT_QAK) {
      /* Where a register holds several groups, load all rows once; else load each just before use, or they would
       * spill. */
      qa rows[LT_QGEMM_MAX_MR];
      if (LT_QAK > 1) {
#pragma GCC unroll 14
        for (int m = 0; m < MR; m++) rows[m] = qa_load(row[m / 3] + (m % 3) * lda, FLIP);
      }
#pragma GCC unroll 4
      for (int i = 0; i < LT_QAK; i++) {
        vb bv[LT_QGEMM_MAX_NV];
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) bv[j] = vb_load(b + (i * NV + j) * LT_VL * LT_QK);
#pragma GCC unroll 14
        for (int m = 0; m < MR; m++) {
          const qa a = qa_lane(LT_QAK > 1 ? rows[m] : qa_load(row[m / 3] + (m % 3) * lda, FLIP), i);
#pragma GCC unroll 4
          for (int j = 0; j < NV; j++) acc[m][j] = q_dot(acc[m][j], a, i, bv[j]);
        }
      }
      b += LT_QAK * NV * LT_VL * LT_QK;
#pragma GCC unroll 14
      for (int m = 0; m < MR; m += 3) row[m / 3] += LT_QAK * LT_QK;
    }
    for (int64_t left = groups * LT_QK + t->tail_bytes; left > 0; left -= LT_QK) {
      const int64_t bytes = left < LT_QK ? left : LT_QK;
      vb bv[LT_QGEMM_MAX_NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) bv[j] = vb_load(b + j * LT_VL * LT_QK);
#pragma GCC unroll 14
      for (int m = 0; m < MR; m++) {
        const qa a = qa_lane(qa_group(lt_load_bytes(row[m / 3] + (m % 3) * lda, bytes), FLIP), 0);
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) acc[m][j] = q_dot(acc[m][j], a, 0, bv[j]);
      }
      b += NV * LT_VL * LT_QK;
#pragma GCC unroll 14
      for (int m = 0; m < MR; m += 3) row[m / 3] += LT_QK;
    }
  }
  q_end(t, MR, NV, acc);
}

#endif

#define LT_DEFINE(MR, NV) \
  static void qgemm_##MR##_##NV(const lt_qtile *t) { lt_qgemm_tile(t, MR, NV, 0); }
LT_CAT(LT_QGEMM_VARIANTS_, LT_ISA_NAME)(LT_DEFINE)
#if LT_QSIZE == 1
#define LT_DEFINE_FLIP(MR, NV) \
  static void qgemm_flip_##MR##_##NV(const lt_qtile *t) { lt_qgemm_tile(t, MR, NV, 1); }
    LT_CAT(LT_QGEMM_VARIANTS_, LT_ISA_NAME)(LT_DEFINE_FLIP)
#endif

        lt_qgemm_fn LT_FN(lt_qgemm_kernel)(int64_t mr, int64_t nv, int64_t flip) {
  static const lt_qgemm_fn table[2][LT_QGEMM_MAX_MR + 1][LT_QGEMM_MAX_NV + 1] = {
#define LT_ENTRY(MR, NV) [0][MR][NV] = qgemm_##MR##_##NV,
      LT_CAT(LT_QGEMM_VARIANTS_, LT_ISA_NAME)(LT_ENTRY)
#if LT_QSIZE == 1
#define LT_ENTRY_FLIP(MR, NV) [1][MR][NV] = qgemm_flip_##MR##_##NV,
          LT_CAT(LT_QGEMM_VARIANTS_, LT_ISA_NAME)(LT_ENTRY_FLIP)
#endif
  };
  if (mr < 1 || mr > LT_QGEMM_MAX_MR || nv < 1 || nv > LT_QGEMM_MAX_NV || flip < 0 || flip > 1) return 0;
  return table[flip][mr][nv];
}

#define LT_QFORMAT_CHECK(isa, lanes, group, inner, size, sign) \
  enum {                                                       \
    lt_qlanes_##isa = lanes,                                   \
    lt_qgroup_##isa = group,                                   \
    lt_qinner_##isa = inner,                                   \
    lt_qsize_##isa = size,                                     \
    lt_qsign_##isa = sign                                      \
  };
LT_QFORMATS(LT_QFORMAT_CHECK)
_Static_assert(LT_FN(lt_qlanes) == LT_VL && LT_FN(lt_qgroup) == LT_QK / LT_QSIZE && LT_FN(lt_qinner) == LT_QINNER &&
                   LT_FN(lt_qsize) == LT_QSIZE && LT_FN(lt_qsign) == LT_QSIGN,
               "LT_QFORMATS says otherwise");

/* Sums to floats: float(sum) (scale a_scale) + fbias. */
static void q_floats(const lt_qend *end, void *c, int64_t ldc, int64_t rows, int64_t cols) {
  const vf a_scale = vf_set1(end->a_scale);
  for (int64_t j = 0; j < cols; j += LT_VL) {
    const int64_t lanes = cols - j < LT_VL ? cols - j : LT_VL;
    const vf scale = vf_mul(vf_load_n(end->scale + j, lanes), a_scale);
    const vf bias = end->fbias ? vf_load_n(end->fbias + j, lanes) : vf_zero();
    for (int64_t m = 0; m < rows; m++) {
      float *y = (float *)c + m * ldc + j;
      vf v = vf_mul(vf_from_vi(vi_load_n((const int32_t *)y, lanes)), scale);
      vf_store_n(y, end->fbias ? vf_add(v, bias) : v, lanes);
    }
  }
}

void LT_FN(lt_qpost)(const lt_qend *end, void *c, int64_t ldc, int64_t rows, int64_t cols) {
  if (end->y_type == LT_F32) {
    q_floats(end, c, ldc, rows, cols);
    return;
  }
  for (int64_t m = 0; m < rows; m++) {
    uint8_t *y = (uint8_t *)c + m * ldc;
    for (int64_t j = 0; j < cols; j++) y[j] = end->table[y[j]];
  }
}

#endif
