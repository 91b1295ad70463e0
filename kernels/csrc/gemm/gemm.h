/* The GEMM micro-kernel and the pieces of blocking that conv2d shares with it. */
#ifndef LT_GEMM_H
#define LT_GEMM_H

#include <stdint.h>

#include "half.h"

#define LT_GEMM_MAX_MR 14
#define LT_GEMM_MAX_NV 4

/* One tile: c = f(sum over segments s of a[:, seg[s] : seg[s] + kseg] b[s] + bias + residual), where f is hard-swish,
 * SiLU or a clamp between lo and hi, a batch-reduce GEMM (Georganas et al., 2020). Rows of A are lda apart; b is one
 * packed panel, consecutive over the segments. */
typedef struct {
  const float *a;
  int64_t lda;
  const int64_t *seg; /* offsets from a */
  int64_t nseg, kseg;
  const float *b;
  int64_t ldb; /* KU = 0: distance between rows of b, which is no panel then but B itself */
  float *c;
  int64_t ldc, cvs;  /* distances between rows, and between vectors of a row */
  const float *from; /* partial sums to go on from, such as c itself; null for none */
  int64_t ldf;
  const float *bias;     /* one value a column, null for none */
  const float *residual; /* null for none */
  int64_t ldr;
  int64_t act; /* LT_ACT_HARD_SWISH, LT_ACT_SILU, or else a clamp */
  float lo, hi;
  int64_t tail;     /* valid lanes of the last vector, 1 to LT_VL */
  int64_t prefetch; /* bytes ahead in b; 0 for none */
} lt_tile;

typedef void (*lt_gemm_fn)(const lt_tile *tile);

/* Values of ku, how a kernel goes through k, that are no number of unrolled steps: in place, B is no panel but the
 * operand itself; halves are loads of 64 bits for cores that issue in order (see steps_neon.h). */
enum { LT_KU_IN_PLACE, LT_KU_HALVES = 2, LT_KU_LOW_HALVES };

/* The micro-kernel of mr rows and nv vectors, or null. */
lt_gemm_fn lt_gemm_kernel(int64_t isa, int64_t mr, int64_t nv, int64_t ku);

/* Apply an activation to rows x cols floats in place. */
typedef void (*lt_act_fn)(float *c, int64_t rows, int64_t cols, int64_t ldc, int64_t act, float alpha, float beta);

/* What is done to a finished tile: in kernels that have no more, a clamp in registers and then `memory` over what they
 * wrote; in the others `act` or a clamp in registers, and then `rest`. */
typedef struct {
  int64_t act; /* LT_ACT_HARD_SWISH, LT_ACT_SILU, or LT_ACT_CLIP */
  float lo, hi;
  lt_act_fn memory, rest; /* null for nothing */
} lt_epilogue;

/* Split an activation into the two; returns a status. */
int lt_epilogue_prepare(lt_epilogue *epilogue, int64_t isa, int64_t act, float alpha, float beta);

/* Everything about the right-hand side and the epilogue that the blocks of one GEMM share. */
typedef struct {
  int64_t isa, lanes, mr, nv, ku, prefetch;
  const lt_half
      *half;      /* null: products of floats. Else k, and all sizes and distances of A, are in words of two halves */
  int64_t n, k;   /* columns, and all of K */
  const float *w; /* packed panels */
  const float *rows; /* ku = 0: B itself, rows ldw apart; only a last panel of partial vectors is packed */
  int64_t ldw;
  const float *bias; /* null for none */
  int64_t act;
  float alpha, beta;
  lt_epilogue epilogue;
} lt_rhs;

/* Fill the derived fields (half, lanes, epilogue), and leave k to the caller; returns a status. Plans are made for CPUs
 * other than this one as well: whether there is such a kernel here is what lt_rhs_check tells before it is called. */
int lt_rhs_prepare(lt_rhs *rhs);
int lt_rhs_check(const lt_rhs *rhs);

/* Rows of A and C for lt_gemm_block. */
typedef struct {
  const float *a;
  int64_t lda;
  const int64_t *seg; /* null: one segment of kc at offset 0 */
  int64_t nseg, kseg;
  int64_t rows;
  float *c;
  int64_t ldc;
  const float *residual;
  int64_t ldr;
  const float *from; /* sums that the product is added to; null for none */
  int64_t ldf;
} lt_rows;

/* Columns [n0, n1) (n0 a multiple of the panel width) of `rows`, panel by panel, tile by tile. Without segments for k
 * in [k0, k0 + kc), adding to C unless k0 is 0, with the epilogue once K is complete; with segments for all of them in
 * one pass, the first of which meets row k0 of the panels. */
void lt_gemm_block(const lt_rhs *rhs, const lt_rows *rows, int64_t n0, int64_t n1, int64_t k0, int64_t kc);

/* y = a + sign b over rows x cols floats. */
typedef void (*lt_sum_fn)(float *y, const float *a, const float *b, float sign, int64_t rows, int64_t cols, int64_t ldy,
                          int64_t lda, int64_t ldb);
lt_sum_fn lt_sum_rows(int64_t isa);

/* Floats in the packed form of a K x N matrix: n rounded up to whole vectors. */
int64_t lt_packed_size(int64_t lanes, int64_t k, int64_t n);

/* Pack a K x N matrix with strides ks, ns into panels of nr columns; the last is as narrow as whole vectors allow. */
void lt_pack_panels(float *dst, const float *src, int64_t k, int64_t n, int64_t ks, int64_t ns, int64_t nr,
                    int64_t lanes, int64_t panel);

#endif
