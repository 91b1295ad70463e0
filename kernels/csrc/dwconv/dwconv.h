/* One run of output pixels of a depthwise convolution. */
#ifndef LT_DWCONV_H
#define LT_DWCONV_H

#include <stdint.h>

#define LT_DW_MAX_OWT 8

typedef struct {
  const float *x;                 /* the input pixel under tap (0, 0) of the first output pixel */
  int64_t row, col;               /* distances between taps of neighbouring kernel rows and columns, in floats */
  int64_t ldx;                    /* distance between input pixels */
  const float *w;                 /* (kh, kw, c) */
  int64_t kw, kh0, kh1, kw0, kw1; /* taps in use: kernel rows [kh0, kh1), columns [kw0, kw1) */
  int64_t wc;                     /* channels of w */
  const float *bias, *residual;   /* null for none */
  float *y;
  int64_t ldy, ldr;
  int64_t c;   /* channels to compute */
  int64_t act; /* LT_ACT_HARD_SWISH, LT_ACT_SILU, or else a clamp */
  float lo, hi;
} lt_dw_run;

typedef void (*lt_dw_fn)(const lt_dw_run *run);

#endif
