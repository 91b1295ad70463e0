/* The transforms of Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray, Fast Algorithms for Convolutional
 * Neural Networks, 2016), m = 2, 4, 6.
 *
 * A patch of (m + 2)^2 inputs becomes as many values of V; their products with the transformed weights U are summed
 * over channels, one GEMM for each of the (m + 2)^2 places, and m x m outputs come back out of these sums M. The
 * polynomials are interpolated at 0, m / 2 pairs +-p, and infinity, in this order; see LT_WINOGRAD_POINTS in
 * winograd.body.h. */
#ifndef LT_WINOGRAD_H
#define LT_WINOGRAD_H

#include <stdint.h>

#define LT_WINOGRAD_MAX_SPAN 8 /* m + 2 */

/* V of one patch: place (i, j) of channel k goes to v[(i (m + 2) + j) stride + k]. */
typedef struct {
  const float *x;
  int64_t row, col; /* distances between rows and columns of the patch */
  int64_t channels;
  float *v; /* written in whole vectors */
  int64_t stride;
} lt_winograd_input;

/* Outputs of one tile, clamped to [lo, hi]; of m x m pixels those in the first `rows` and `cols` are written. */
typedef struct {
  const float *m; /* place (i, j) of channel k at m[(i (m + 2) + j) stride + k], readable in whole vectors */
  int64_t stride;
  int64_t channels;
  const float *bias; /* null for none */
  float *y;
  int64_t row, col;
  const float *residual; /* null for none */
  int64_t residual_row, residual_col;
  int64_t rows, cols;
  float lo, hi;
} lt_winograd_output;

typedef struct {
  void (*input)(const lt_winograd_input *t);
  void (*output)(const lt_winograd_output *t);
} lt_winograd_transforms;

#endif
