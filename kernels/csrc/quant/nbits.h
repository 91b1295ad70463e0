/* Float rows times weights of four bits, which are kept in panels of LT_NBITS_COLS columns whatever the instruction
 * set: a word holds LT_NBITS_K consecutive k of one column, the first lowest, each value less 8 in two's complement. */
#ifndef LT_NBITS_H
#define LT_NBITS_H

#include <stdint.h>

#define LT_NBITS_COLS 16
#define LT_NBITS_K 8
#define LT_NBITS_MAX_ROWS 4 /* of a register tile */

typedef struct {
  const uint32_t *w;  /* [k / LT_NBITS_K][LT_NBITS_COLS] */
  const float *scale; /* [k / block][LT_NBITS_COLS] */
  const float *zero;  /* the same, less 8; null if all are 8 */
  int64_t k, block;   /* multiples of LT_NBITS_K; the last block may be short */
} lt_nbits_panel;

/* One register tile: up to LT_NBITS_MAX_ROWS rows by the columns of a panel. */
typedef struct {
  lt_nbits_panel panel;
  const float *a;
  int64_t lda;
  const float *sums; /* of every row and block, rows one after another; where the panel has zeros */
  const float *bias; /* null for none */
  float *c;
  int64_t ldc;
  int64_t cols; /* valid ones, 1 to LT_NBITS_COLS */
} lt_nbits_tile;

typedef struct {
  /* By rows less one. */
  void (*tile[LT_NBITS_MAX_ROWS])(const lt_nbits_tile *tile);
  /* The weights of [k0, k1), multiples of LT_NBITS_K, of one vector of columns from `column` on: a vector every
   * `stride` floats. */
  void (*unpack)(const lt_nbits_panel *panel, int64_t column, int64_t k0, int64_t k1, float *dst, int64_t stride);
  float (*sum)(const float *x, int64_t n); /* n a multiple of LT_NBITS_K */
} lt_nbits_kernels;

extern const lt_nbits_kernels lt_nbits_scalar, lt_nbits_avx2, lt_nbits_avx512, lt_nbits_neon;

#endif
