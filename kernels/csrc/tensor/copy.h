/* What the driver of COPY hands to its bodies. */
#ifndef LT_COPY_H
#define LT_COPY_H

#include "tensor/nest.h"

enum { LT_COPY_X, LT_COPY_Y }; /* the arrays of the nest */

/* A transposing copy is done in blocks of the two innermost loops, of about this many elements: both sides of a block
 * stay in L1. The rows, which x has contiguous, are at least a cache line of 4-byte elements; y has the columns
 * contiguous. */
#define LT_COPY_BLOCK 4096
#define LT_COPY_BLOCK_ROWS 16
#define LT_COPY_BLOCK_COLS (LT_COPY_BLOCK / LT_COPY_BLOCK_ROWS)

/* Fewer rows or columns are copied one by one: partial vectors would cost more. */
#define LT_COPY_NARROW 8

/* Rows and columns of a square of bytes in registers. */
#define LT_COPY_BYTES 16

typedef struct {
  lt_nest nest;
  int64_t size;
  int64_t block_rows, row_blocks, col_blocks; /* of a transposing copy */
  const char *x;
  char *y;
} lt_copy_job;

/* Where block `unit` of a transposing copy starts, in elements, and how large it is. */
typedef struct {
  int64_t x, y, rows, cols;
} lt_copy_block;

lt_copy_block lt_copy_find_block(const lt_copy_job *job, int64_t unit);

#endif
