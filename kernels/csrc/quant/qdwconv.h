/* One run of output pixels of a quantised depthwise convolution. */
#ifndef LT_QDWCONV_H
#define LT_QDWCONV_H

#include <stdint.h>

#define LT_QDW_MAX_OWT 8

/* Taps whose products are summed in a float: 256 * 255 * 255 < 2^24, so that the sum is exact. */
#define LT_QDW_EXACT 256

typedef struct {
  const uint8_t *x;               /* the input pixel under tap (0, 0) of the first output pixel */
  int64_t row, col;               /* distances between taps of neighbouring kernel rows and columns */
  int64_t ldx;                    /* distance between input pixels */
  const float *w;                 /* (kh, kw + 1, wc): the last column holds the sums of the others */
  int64_t kw, kh0, kh1, kw0, kw1; /* taps in use: kernel rows [kh0, kh1), columns [kw0, kw1) */
  int64_t wc;                     /* channels of w */
  int32_t flip;                   /* makes a byte unsigned: 0x80 for LT_I8 */
  float x_zero;                   /* of unsigned bytes */
  const int32_t *bias;            /* null for none */
  const float *scale;
  const uint8_t *residual; /* null for none */
  uint8_t *y;
  int64_t ldy, ldr;
  int64_t c; /* channels to compute */
  float lo, hi;
  int32_t y_zero;
  int r_signed, r_first; /* of the residual */
  float y_ratio, r_ratio, sum_offset, sum_lo, sum_hi;
} lt_qdw_run;

typedef void (*lt_qdw_fn)(const lt_qdw_run *run);

#endif
