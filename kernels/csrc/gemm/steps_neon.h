/* The steps over k of NEON's register tiles: lt_gemm_steps, for gemm.body.h. Multiply-adds are by element of a register
 * that holds several k of a row, and nothing is broadcast.
 *
 * Cores that issue in order want loads spread between the multiply-adds, which compilers do not keep so. Each
 * instruction whose place matters is an asm statement of its own: volatile ones keep their order, and registers are
 * still the compiler's affair. Nothing is stored before these loops, so that the loads need not say what they read.
 */
#ifndef LT_GEMM_STEPS_NEON_H
#define LT_GEMM_STEPS_NEON_H

#include "gemm.h"

#define LT_GEMM_OWN_STEPS

LT_INLINE void step_fma(vf *acc, vf b, vf a, const int lane) {
  switch (lane) {
    case 0: __asm__ volatile("fmla %0.4s, %1.4s, %2.s[0]" : "+w"(*acc) : "w"(b), "w"(a)); break;
    case 1: __asm__ volatile("fmla %0.4s, %1.4s, %2.s[1]" : "+w"(*acc) : "w"(b), "w"(a)); break;
    case 2: __asm__ volatile("fmla %0.4s, %1.4s, %2.s[2]" : "+w"(*acc) : "w"(b), "w"(a)); break;
    default: __asm__ volatile("fmla %0.4s, %1.4s, %2.s[3]" : "+w"(*acc) : "w"(b), "w"(a));
  }
}

LT_INLINE uint64_t step_load_next(const float **p) {
  uint64_t x;
  __asm__ volatile("ldr %0, [%1], #8" : "=r"(x), "+r"(*p));
  return x;
}

LT_INLINE uint64_t step_load(const float *p, const int64_t bytes) {
  uint64_t x;
  __asm__ volatile("ldr %0, [%1, %2]" : "=r"(x) : "r"(p), "rI"(bytes));
  return x;
}

LT_INLINE void step_low(vf *v, uint64_t x) { __asm__ volatile("ins %0.d[0], %1" : "+w"(*v) : "r"(x)); }
LT_INLINE void step_high(vf *v, uint64_t x) { __asm__ volatile("ins %0.d[1], %1" : "+w"(*v) : "r"(x)); }

/* ---- in halves, for cores that issue in order -------------------------------------------------------------------
 *
 * Two k at a time. Registers hold NV vectors of B, and two k of two rows of A each. The multiply-adds are 2 NV blocks,
 * one for a k and a vector of B, each of MR rows. After each there is room for one more instruction that goes beside
 * it: a load of 64 bits to a general register, or the move of such a half to where it is used next, once its
 * predecessor there has met its last row.
 *
 * LT_KU_HALVES moves all halves so. LT_KU_LOW_HALVES loads the low halves of B where they are used, which is one
 * instruction less, but on a Cortex-A53 one that nothing goes beside.
 */

typedef struct {
  vf a[(LT_GEMM_MAX_MR + 1) / 2], b[LT_GEMM_MAX_NV];
  uint64_t row[LT_GEMM_MAX_MR], low[2], high[2]; /* halves on their way: of A; of B, from even and odd blocks */
} lt_halves;

/* The n-th row to be moved: the two rows of a register apart, as the second move waits for the first. */
LT_INLINE int halves_moved(const int MR, const int n) {
  const int start = MR % 4 == 2 && n >= MR - 6 ? MR - 6 : n / 4 * 4, pairs = start == MR - 6 && MR % 4 == 2 ? 3 : 2;
  const int at = n - start;
  if (MR - start == 3) return start + (at == 1 ? 2 : at == 2 ? 1 : 0);
  if (MR - start < 3) return n;
  return start + (at < pairs ? 2 * at : 2 * (at - pairs) + 1);
}

/* The n-th row to be loaded: of the three that share a pointer, the one that moves it comes last. */
LT_INLINE int halves_row(const int MR, const int n) {
  const int group = n / 3 * 3, count = MR - group < 3 ? MR - group : 3;
  return n == group + count - 1 ? group : n + 1;
}

LT_INLINE void halves_load_row(lt_halves *h, const float **row, int64_t lda, const int MR, const int n) {
  const int m = halves_row(MR, n);
  h->row[m] = m % 3 ? step_load(row[m / 3], m % 3 * lda * 4) : step_load_next(&row[m / 3]);
}

LT_INLINE void halves_move_row(lt_halves *h, const int m) {
  if (m % 2) {
    step_high(&h->a[m / 2], h->row[m]);
  } else {
    step_low(&h->a[m / 2], h->row[m]);
  }
}

/* One of the two instructions that load a vector of B, and one of the two that bring it to register j. */
LT_INLINE void halves_load(lt_halves *h, const float **b, const int odd, const int part, const int LOW) {
  if (LOW) {
    if (part) h->high[odd] = step_load(*b, 8);
  } else if (part) {
    h->high[odd] = step_load_next(b);
  } else {
    h->low[odd] = step_load_next(b);
  }
}

LT_INLINE void halves_move(lt_halves *h, const float **b, const int odd, const int j, const int part, const int LOW) {
  if (part) {
    step_high(&h->b[j], h->high[odd]);
  } else if (LOW) {
    __asm__ volatile("ldr %d0, [%1], #16" : "=w"(h->b[j]), "+r"(*b));
  } else {
    step_low(&h->b[j], h->low[odd]);
  }
}

/* What goes beside the multiply-add of row m in block q; MORE: two more k follow. */
LT_INLINE void halves_beside(lt_halves *h, const float **row, const float **b, int64_t lda, int64_t prefetch,
                             const int MR, const int NV, const int LOW, const int MORE, const int q, const int m) {
  const int last = 2 * NV - 1, start = q ? 0 : 2, from = q ? q - 1 : last;
#define AT(place) (m == ((place) < MR ? (place) : MR - 1))
  /* Rows: after their last use, in the last block, and two of them in the first. */
  if (q == 0 && m < 2) halves_move_row(h, halves_moved(MR, MR - 2 + m));
  if (q == last && MORE && m == 1) halves_move_row(h, halves_moved(MR, 0));
  if (q == last && MORE && m > 2) halves_move_row(h, halves_moved(MR, m - 2));
  /* The vector whose last use was in the block before, and a load of what takes the place of this block's. The last
   * block has no room for the latter, which goes to the one before. */
  const int moves = q <= NV || MORE, loads = (q < NV || MORE) && (q < last || LOW);
  if (moves && AT(start)) halves_move(h, b, from % 2, from % NV, 0, LOW);
  if (loads && AT(start + 1)) halves_load(h, b, q % 2, 0, LOW);
  if (moves && AT(start + (LOW ? 4 : 2))) halves_move(h, b, from % 2, from % NV, 1, LOW);
  if (loads && AT(start + 3)) halves_load(h, b, q % 2, 1, LOW);
  if (MORE && q == last - 1 && !LOW) {
    if (AT(4)) halves_load(h, b, 1, 0, LOW);
    if (AT(5)) halves_load(h, b, 1, 1, LOW);
  }
  if (!MORE) return;
  /* Loads of rows, spread over all blocks but the last, at the end of each. */
#pragma GCC unroll 14
  for (int n = 0; n < MR; n++) {
    const int block = n * last / MR, first = (block * MR + last - 1) / last;
    const int count = ((block + 1) * MR + last - 1) / last - first;
    if (q == block && m == MR - count + n - first) halves_load_row(h, row, lda, MR, n);
  }
  /* Each time that b has moved by no more than 64 bytes. */
  if ((q == 1 || (NV > 2 && q == NV + 1)) && m == MR / 2)
    __asm__ volatile("prfm pldl1keep, [%0, %1]" : : "r"(*b), "r"(prefetch));
#undef AT
}

LT_INLINE void halves_step(vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], lt_halves *h, const float **row, const float **b,
                           int64_t lda, int64_t prefetch, const int MR, const int NV, const int LOW, const int MORE) {
#pragma GCC unroll 8
  for (int q = 0; q < 2 * NV; q++) {
    const int j = q % NV, u = q / NV;
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
      step_fma(&acc[m][j], h->b[j], h->a[m / 2], m % 2 * 2 + u);
      halves_beside(h, row, b, lda, prefetch, MR, NV, LOW, MORE, q, m);
    }
  }
}

LT_INLINE int64_t halves_steps(vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const float **row, const float **b, int64_t k,
                               int64_t lda, int64_t prefetch, const int MR, const int NV, const int LOW) {
  if (k < 2) return k;
  lt_halves h;
#pragma GCC unroll 14
  for (int n = 0; n < MR; n++) halves_load_row(&h, row, lda, MR, n);
#pragma GCC unroll 7
  for (int p = 0; p < (MR + 1) / 2; p++) h.a[p] = vf_zero();
#pragma GCC unroll 14
  for (int m = 0; m < MR; m++) {
    if (m < MR - 2) halves_move_row(&h, halves_moved(MR, m));
  }
#pragma GCC unroll 4
  for (int j = 0; j < NV; j++) {
    h.b[j] = vf_zero();
#pragma GCC unroll 2
    for (int part = 0; part < 2; part++) halves_load(&h, b, 1, part, LOW);
#pragma GCC unroll 2
    for (int part = 0; part < 2; part++) {
      if (j < NV - 1) halves_move(&h, b, 1, j, part, LOW);
    }
  }
  for (int64_t more = k / 2 - 1; more > 0; more--) halves_step(acc, &h, row, b, lda, prefetch, MR, NV, LOW, 1);
  halves_step(acc, &h, row, b, lda, prefetch, MR, NV, LOW, 0);
  __asm__ volatile("" : : : "memory"); /* what the caller needs again is not kept in registers meanwhile */
  return k % 2;
}

/* ---- four k at a time, for cores that find their order by themselves -----------------------------------------------
 */

LT_INLINE int64_t quad_steps(vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const float **row, const float **b, int64_t k,
                             int64_t lda, int64_t ldb, int64_t prefetch, const int MR, const int NV) {
  /* Whether four k of all rows fit beside the sums; else each element is loaded for itself. */
  const int fits = MR * NV + NV + MR <= 32;
  for (; k >= 4; k -= 4) {
    vf rows[LT_GEMM_MAX_MR];
    if (prefetch) {
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) __builtin_prefetch((const char *)(*b + 4 * j * LT_VL) + prefetch);
    }
#pragma GCC unroll 14
    for (int m = 0; m < MR; m++) {
      if (fits) rows[m] = vf_load(row[m / 3] + m % 3 * lda);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      vf bv[LT_GEMM_MAX_NV];
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) bv[j] = vf_load(*b + i * ldb + j * LT_VL);
#pragma GCC unroll 14
      for (int m = 0; m < MR; m++) {
        vf a;
        if (fits) {
          a = rows[m];
        } else {
          __asm__ volatile("ldr %s0, %1" : "=w"(a) : "m"(row[m / 3][m % 3 * lda + i]));
        }
#pragma GCC unroll 4
        for (int j = 0; j < NV; j++) step_fma(&acc[m][j], bv[j], a, fits ? i : 0);
      }
    }
    *b += 4 * ldb;
#pragma GCC unroll 14
    for (int m = 0; m < MR; m += 3) row[m / 3] += 4;
  }
  return k;
}

LT_INLINE int64_t lt_gemm_steps(vf acc[LT_GEMM_MAX_MR][LT_GEMM_MAX_NV], const float **row, const float **b, int64_t k,
                                int64_t lda, int64_t ldb, int64_t prefetch, const int MR, const int NV, const int KU) {
  if (KU == LT_KU_HALVES) return halves_steps(acc, row, b, k, lda, prefetch, MR, NV, 0);
  if (KU == LT_KU_LOW_HALVES) return halves_steps(acc, row, b, k, lda, prefetch, MR, NV, 1);
  return quad_steps(acc, row, b, k, lda, ldb, prefetch, MR, NV);
}

#endif
