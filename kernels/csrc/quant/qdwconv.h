/* What the driver of the quantised depthwise convolution hands to its kernels. */
#ifndef LT_QDWCONV_H
#define LT_QDWCONV_H

#include <stdint.h>

/* Products whose sum is exact as a float: 256 * 255 * 255 < 2^24. */
#define LT_QDW_EXACT 256

/* One output pixel, any window. */
typedef struct {
  const uint8_t *x;               /* the input pixel under tap (0, 0) */
  int64_t row, col;               /* distances between taps of neighbouring kernel rows and columns */
  const float *w;                 /* (kh, kw, wc) */
  int64_t kw, kh0, kh1, kw0, kw1; /* taps in use: kernel rows [kh0, kh1), columns [kw0, kw1) */
  int64_t wc;                     /* channels of w */
  int32_t flip;                   /* makes a byte unsigned: 0x80 for LT_I8 */
  float x_zero;                   /* of unsigned bytes */
  const int32_t *bias;            /* null for none */
  const float *scale;
  uint8_t *y;
  int64_t c;    /* channels to compute */
  float lo, hi; /* y_min and y_max less y_zero */
  int32_t y_zero;
} lt_qdw_run;

typedef void lt_qdw_fn(const lt_qdw_run *run);

/* The register tiles: up to LT_QDW_MAX_OWT neighbouring pixels, a block of channels after the other. The columns of a
 * kernel row are taken in groups, as the multiply-adds of the ISA sum them:
 *
 *   group 4  unsigned bytes of x by signed bytes of w       avxvnni, avx512vnni
 *   group 2  16-bit integers                                avx2, avx512
 *   group 1  16-bit integers, each tap alone                neon
 *
 * Weights: for each block of channels, (kh, parity, groups, vectors, channels of a vector, group), where groups =
 * (kw + group) / group; parity 0 has the taps from the first place of the groups on, parity 1, there for stride 1 only,
 * from the second one on; other places are 0. Vector v of a block holds channels 16 h + 4 v + i for h = 0, 1 and
 * i = 0 to 3. In groups of 1 there is one parity of kw taps, and channels keep their order. A last block that would be
 * partly empty starts earlier instead, so that blocks may overlap. */
#define LT_QDW_BLOCK 32
#define LT_QDW_MAX_OWT 4
#define LT_QDW_MAX_KH 7
#define LT_QDW_MAX_COLS ((LT_QDW_MAX_OWT - 1) * 2 + 5)

/* Bytes of a block's weights. */
int64_t lt_qdw_block_bytes(int64_t isa, int64_t kh, int64_t kw, int64_t sw);

/* Parameters of a block, its channels in the order of the vectors. */
typedef struct {
  int32_t init[LT_QDW_BLOCK]; /* bias - x_zero (sum of the weights), of unsigned bytes */
  float scale[LT_QDW_BLOCK];
} lt_qdw_block;

typedef struct {
  /* Channel 0 of the input pixels under the taps, row by row: kh rows of (OWT - 1) S + KW. */
  const uint8_t *x[LT_QDW_MAX_KH * LT_QDW_MAX_COLS];
  int64_t kh, r0, r1;  /* kernel rows, [r0, r1) of which are inside the image */
  int64_t count, step; /* tiles side by side, and the distance of their inputs; 1 tile where columns are outside */
  int64_t c0, c1;      /* channels to compute, from a block's first one on */
  int64_t last;        /* where the last block starts */
  const void *w;       /* of the first block */
  const lt_qdw_block *blocks; /* from the first one on */
  uint8_t *y;                 /* channel 0 of the first pixel */
  int64_t ldy;
  int32_t y_zero, y_min, y_max;
  int x_signed, y_signed; /* LT_I8 */
  int wide;               /* scaled sums may not fit int32 */
} lt_qdw_tile;

/* Moves tile->x on if there are more tiles than one. */
typedef void lt_qdw_tile_fn(lt_qdw_tile *tile);

#endif
