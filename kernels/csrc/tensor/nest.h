/* A nest of loops over several strided arrays, as BINARY, WHERE and COPY have it. */
#ifndef LT_NEST_H
#define LT_NEST_H

#include <stdbool.h>

#include "cpu/split.h"

#define LT_NEST_RANK 6
#define LT_NEST_ARRAYS 4

/* The six slots p0..p5 of an argument struct, as an initialiser. */
#define LT_SIX(args, p) {(args)->p##0, (args)->p##1, (args)->p##2, (args)->p##3, (args)->p##4, (args)->p##5}

typedef struct {
  int rank, arrays;
  int64_t count; /* the product of dim */
  int64_t dim[LT_NEST_RANK];
  int64_t stride[LT_NEST_ARRAYS][LT_NEST_RANK]; /* in elements */
} lt_nest;

/* A rectangle of the two innermost loops. */
typedef struct {
  int64_t rows, cols;
  int64_t offset[LT_NEST_ARRAYS];
} lt_patch;

/* A nest without arrays. False if a dimension is negative or there are too many elements. */
bool lt_nest_init(lt_nest *nest, const int64_t dims[LT_NEST_RANK]);

/* Add an array. False if an offset inside it could overflow. */
bool lt_nest_add(lt_nest *nest, const int64_t strides[LT_NEST_RANK]);

/* Add an array that is contiguous in the order of the loops. */
void lt_nest_add_contiguous(lt_nest *nest);

/* Drop loops of one turn and join neighbours that are one loop for every array. At least two loops remain. */
void lt_nest_merge(lt_nest *nest);

/* The largest tile that starts at element `position` of the nest and ends before `end`. */
lt_patch lt_nest_patch(const lt_nest *nest, int64_t position, int64_t end);

#endif
