/* What the driver of COPY hands to its bodies. */
#ifndef LT_COPY_H
#define LT_COPY_H

#include "tensor/nest.h"

enum { LT_COPY_X, LT_COPY_Y }; /* the arrays of the nest */

/* A transposing copy is done in blocks of the two innermost loops: a cache line of 4-byte elements along the rows, which x
 * has contiguous, by as many columns, which y has contiguous, as leave both sides of the block in L1. */
#define LT_COPY_BLOCK_ROWS 16
#define LT_COPY_BLOCK_COLS 256

typedef struct {
  lt_nest nest;
  int64_t size;
  int64_t row_blocks, col_blocks; /* of a transposing copy */
  const char *x;
  char *y;
} lt_copy_job;

/* Where block `unit` of a transposing copy starts, in elements, and how large it is. */
typedef struct {
  int64_t x, y, rows, cols;
} lt_copy_block;

lt_copy_block lt_copy_find_block(const lt_copy_job *job, int64_t unit);

#endif
