#include "tensor/nest.h"

#include <string.h>

bool lt_nest_init(lt_nest *nest, const int64_t dims[LT_NEST_RANK]) {
  nest->rank = LT_NEST_RANK;
  nest->arrays = 0;
  nest->count = lt_product(dims, LT_NEST_RANK);
  memcpy(nest->dim, dims, sizeof nest->dim);
  return nest->count >= 0;
}

bool lt_nest_add(lt_nest *nest, const int64_t strides[LT_NEST_RANK]) {
  for (int i = 0; i < LT_NEST_RANK; i++) {
    int64_t extent, turns = nest->dim[i] > 0 ? nest->dim[i] - 1 : 0;
    if (__builtin_mul_overflow(turns, strides[i], &extent)) return false;
    if (extent > LT_MAX_ELEMENTS || extent < -LT_MAX_ELEMENTS) return false;
    if (strides[i] > LT_MAX_ELEMENTS || strides[i] < -LT_MAX_ELEMENTS) return false;
  }
  memcpy(nest->stride[nest->arrays++], strides, sizeof nest->stride[0]);
  return true;
}

void lt_nest_add_contiguous(lt_nest *nest) {
  int64_t *stride = nest->stride[nest->arrays++], step = 1;
  for (int i = LT_NEST_RANK - 1; i >= 0; i--) {
    stride[i] = step;
    if (nest->count > 0) step *= nest->dim[i];
  }
}

/* Whether loops `outer` and `inner` are one loop for every array. */
static bool joins(const lt_nest *nest, int outer, int inner) {
  for (int k = 0; k < nest->arrays; k++)
    if (nest->stride[k][outer] != nest->stride[k][inner] * nest->dim[inner]) return false;
  return true;
}

static void move_loop(lt_nest *nest, int to, int from) {
  nest->dim[to] = nest->dim[from];
  for (int k = 0; k < nest->arrays; k++) nest->stride[k][to] = nest->stride[k][from];
}

void lt_nest_merge(lt_nest *nest) {
  int last = LT_NEST_RANK; /* loops [last, LT_NEST_RANK) are done */
  if (nest->count == 0) return;
  for (int i = LT_NEST_RANK - 1; i >= 0; i--) {
    if (nest->dim[i] == 1) continue;
    if (last < LT_NEST_RANK && joins(nest, i, last))
      nest->dim[last] *= nest->dim[i];
    else
      move_loop(nest, --last, i);
  }
  nest->rank = 0;
  for (int missing = 2 - (LT_NEST_RANK - last); missing > 0; missing--) {
    last--;
    nest->dim[last] = 1;
    for (int k = 0; k < nest->arrays; k++) nest->stride[k][last] = 0;
  }
  for (; last < LT_NEST_RANK; last++) move_loop(nest, nest->rank++, last);
}

lt_patch lt_nest_patch(const lt_nest *nest, int64_t position, int64_t end) {
  const int c = nest->rank - 1, r = nest->rank - 2;
  int64_t rest = position, left = end - position, at[LT_NEST_RANK];
  for (int i = c; i > 0; i--) {
    at[i] = rest % nest->dim[i];
    rest /= nest->dim[i];
  }
  at[0] = rest;
  lt_patch tile = {.rows = 1, .cols = nest->dim[c] - at[c]};
  if (tile.cols > left) {
    tile.cols = left;
  } else if (at[c] == 0) {
    tile.rows = nest->dim[r] - at[r];
    if (tile.rows > left / tile.cols) tile.rows = left / tile.cols;
  }
  for (int k = 0; k < nest->arrays; k++)
    for (int i = 0; i < nest->rank; i++) tile.offset[k] += at[i] * nest->stride[k][i];
  return tile;
}
