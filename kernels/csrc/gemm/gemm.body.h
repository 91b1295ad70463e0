/* The micro-kernel over simd.h names. MR, NV and KU are constants at every call, so all loops over them unroll and the
 * accumulators live in registers. */
#ifndef LT_GEMM_BODY_H
#define LT_GEMM_BODY_H

#include "gemm.h"
#include "gemm.variants.h"
#include "keep.h"

/* The product of a word of A, or word i of LT_AK, with a vector of B; files for other words than floats have their own.
 */
#ifndef LT_GEMM_WORDS
LT_INLINE vf lt_word_fma(vf b, vf a, vf c) { return vf_fma(b, a, c); }
LT_INLINE vf lt_word_fma_lane(vf b, va a, int i, vf c) { return vf_fma_lane(b, a, i, c); }
#endif

/* Activate and store; `act` is a constant. */
LT_INLINE void lt_gemm_finish(const lt_tile *t, vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const int MR, const int NV,
                              const int64_t act) {
#pragma GCC unroll 14
  for (int m = 0; m < MR; m++) {
    float *c = t->c + m * t->ldc;
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      const vf v = vf_act(acc[m][j], act, t->lo, t->hi);
      if (j < NV - 1 || t->tail == LT_VL) {
        vf_store(c + j * t->cvs, v);
      } else {
        vf_store_n(c + j * t->cvs, v, t->tail);
      }
    }
  }
}

LT_INLINE void lt_gemm_end(const lt_tile *t, vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const int MR, const int NV);

#ifndef LT_GEMM_TILE /* files whose products are not of a word by a vector have their own */
LT_INLINE void lt_gemm_tile(const lt_tile *t, const int MR, const int NV, const int UNROLL) {
  vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV];
  const int last = NV - 1;
  const int64_t ldb = UNROLL > 0 ? NV * LT_VL : t->ldb;
  const int64_t tail = t->tail, lda = t->lda, prefetch = t->prefetch;

  if (!t->from) {
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[m][j] = vf_zero();
    }
  } else {
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
      const float *from = t->from + m * t->ldf;
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++)
        acc[m][j] = j < last ? vf_load(from + j * t->cvs) : vf_load_n(from + j * t->cvs, tail);
    }
  }

  const float *b = t->b;
  for (int64_t s = 0; s < t->nseg; s++) {
    /* One pointer for three rows: x86 addresses reach base, base + lda and base + 2 lda. */
    const float *row[(LT_GEMM_MAX_MR + 2) / 3];
#pragma GCC unroll 14
    for (int m = 0; m < MR; m += 3) row[m / 3] = t->a + t->seg[s] + m * lda;
    int64_t k = t->kseg;
#ifdef LT_GEMM_OWN_STEPS /* files that write the loop otherwise: what is left over is returned */
    k = lt_gemm_steps(acc, row, &b, k, lda, ldb, prefetch, MR, NV, UNROLL);
#else
    const int KU = UNROLL > 0 ? UNROLL : 1;
    for (; k >= KU * LT_AK; k -= KU * LT_AK) {
      if (KU > 1 && prefetch) {
#pragma GCC unroll 16
        for (int j = 0; j < NV * KU; j++) __builtin_prefetch((const char *)(b + j * LT_VL) + prefetch);
      }
#pragma GCC unroll 4
      for (int u = 0; u < KU; u++) {
        /* Where a register holds several k, load all rows once; else load each just before use, or they would spill. */
        va rows[LT_GEMM_MAX_MR];
        if (LT_AK > 1) {
#pragma GCC unroll 14
          for (int m = 0; m < MR; m++) rows[m] = va_load(row[m / 3] + (m % 3) * lda + u * LT_AK);
        }
#pragma GCC unroll 4
        for (int i = 0; i < LT_AK; i++) {
          vf bv[LT_GEMM_MAX_NV];
#pragma GCC unroll 4
          for (int j = 0; j < NV; j++) bv[j] = vf_load(b + (u * LT_AK + i) * ldb + j * LT_VL);
#pragma GCC unroll 14
          for (int m = 0; m < MR; m++) {
            va a = LT_AK > 1 ? rows[m] : va_load(row[m / 3] + (m % 3) * lda + u);
#pragma GCC unroll 4
            for (int j = 0; j < NV; j++) acc[m][j] = lt_word_fma_lane(bv[j], a, i, acc[m][j]);
          }
        }
      }
      b += KU * LT_AK * ldb;
#pragma GCC unroll 14
      for (int m = 0; m < MR; m += 3) row[m / 3] += KU * LT_AK;
    }
#endif
    for (; k > 0; k--) {
      vf bv[LT_GEMM_MAX_NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) bv[j] = vf_load(b + j * LT_VL);
#pragma GCC unroll 14
      for (int m = 0; m < MR; m++) {
        vf a = vf_set1(row[m / 3][(m % 3) * lda]);
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) acc[m][j] = lt_word_fma(bv[j], a, acc[m][j]);
      }
      b += ldb;
#pragma GCC unroll 14
      for (int m = 0; m < MR; m += 3) row[m / 3]++;
    }
  }

  lt_gemm_end(t, acc, MR, NV);
}
#endif

/* Bias, residual and activation of complete sums. */
LT_INLINE void lt_gemm_end(const lt_tile *t, vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const int MR, const int NV) {
  const int last = NV - 1;
  const int64_t tail = t->tail;
  /* Added last: a large bias would cost every partial sum digits. */
  if (t->bias) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      const vf bias = j < last ? vf_load(t->bias + j * LT_VL) : vf_load_n(t->bias + j * LT_VL, tail);
#pragma GCC unroll 14
      for (int m = 0; m < MR; m++) acc[m][j] = vf_add(acc[m][j], bias);
    }
  }
  if (t->residual) {
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
      const float *residual = t->residual + m * t->ldr;
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) {
        vf r = j < last ? vf_load(residual + j * LT_VL) : vf_load_n(residual + j * LT_VL, tail);
        acc[m][j] = vf_add(acc[m][j], r);
      }
    }
  }

  switch (t->act) {
    case LT_ACT_HARD_SWISH: lt_gemm_finish(t, acc, MR, NV, LT_ACT_HARD_SWISH); break;
    case LT_ACT_SILU: lt_gemm_finish(t, acc, MR, NV, LT_ACT_SILU); break;
    default: lt_gemm_finish(t, acc, MR, NV, LT_ACT_CLIP);
  }
}

#define LT_DEFINE(MR, NV, KU) \
  static void gemm_##MR##_##NV##_##KU(const lt_tile *t) { lt_gemm_tile(t, MR, NV, KU); }
LT_CAT(LT_GEMM_VARIANTS_, LT_ISA_NAME)(LT_DEFINE)

    lt_gemm_fn LT_FN(lt_gemm_kernel)(int64_t mr, int64_t nv, int64_t ku) {
  static const lt_gemm_fn table[LT_GEMM_MAX_MR + 1][LT_GEMM_MAX_NV + 1][5] = {
#define LT_ENTRY(MR, NV, KU) [MR][NV][KU] = LT_KEEP(LT_WITHOUT_GEMM_##NV##_##KU, gemm_##MR##_##NV##_##KU),
      LT_CAT(LT_GEMM_VARIANTS_, LT_ISA_NAME)(LT_ENTRY)};
  if (mr < 1 || mr > LT_GEMM_MAX_MR || nv < 1 || nv > LT_GEMM_MAX_NV || ku < 0 || ku > 4) return 0;
#ifdef LT_GEMM_OWN_STEPS
  /* With so few multiply-adds there is nothing to put loads between. */
  if ((ku == LT_KU_HALVES || ku == LT_KU_LOW_HALVES) && (mr < 4 || nv < 2)) ku = 1;
#endif
  return table[mr][nv][ku];
}

#endif
