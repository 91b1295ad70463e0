#include "tensor/copy.h"

#include <stdlib.h>
#include <string.h>

#include "tensor/bits.h"

LT_PARTS(lt_copy_transpose);
LT_PARTS(lt_copy_transpose_bytes);
LT_PARTS(lt_copy_interleave);

/* Two loops change places. */
static void swap_loops(lt_nest *nest, int i, int j) {
  const int64_t dim = nest->dim[i];
  nest->dim[i] = nest->dim[j];
  nest->dim[j] = dim;
  for (int k = 0; k < nest->arrays; k++) {
    const int64_t stride = nest->stride[k][i];
    nest->stride[k][i] = nest->stride[k][j];
    nest->stride[k][j] = stride;
  }
}

/* Let y be written in the order of its memory. */
static void sort_by_result(lt_nest *nest) {
  for (int i = 1; i < nest->rank; i++)
    for (int j = i; j > 0 && llabs(nest->stride[LT_COPY_Y][j]) > llabs(nest->stride[LT_COPY_Y][j - 1]); j--)
      swap_loops(nest, j, j - 1);
}

/* Whether the innermost loop walks y, another one x, by single elements; that one then becomes the second innermost. */
static bool arrange_transpose(lt_nest *nest) {
  const int c = nest->rank - 1, r = nest->rank - 2;
  if (nest->stride[LT_COPY_Y][c] != 1 || nest->stride[LT_COPY_X][c] == 1) return false;
  for (int i = 0; i < c; i++)
    if (nest->stride[LT_COPY_X][i] == 1) {
      for (; i < r; i++) swap_loops(nest, i, i + 1);
      return true;
    }
  return false;
}

lt_copy_block lt_copy_find_block(const lt_copy_job *job, int64_t unit) {
  const lt_nest *nest = &job->nest;
  const int c = nest->rank - 1, r = nest->rank - 2;
  const int64_t row = unit % job->row_blocks * job->block_rows;
  const int64_t col = unit / job->row_blocks % job->col_blocks * LT_COPY_BLOCK_COLS;
  const int64_t position = unit / job->row_blocks / job->col_blocks * nest->dim[r] * nest->dim[c];
  const lt_patch patch = lt_nest_patch(nest, position, nest->count);
  const int64_t rows = nest->dim[r] - row, cols = nest->dim[c] - col;
  return (lt_copy_block){
      .x = patch.offset[LT_COPY_X] + row + col * nest->stride[LT_COPY_X][c],
      .y = patch.offset[LT_COPY_Y] + row * nest->stride[LT_COPY_Y][r] + col,
      .rows = rows < job->block_rows ? rows : job->block_rows,
      .cols = cols < LT_COPY_BLOCK_COLS ? cols : LT_COPY_BLOCK_COLS,
  };
}

LT_BITS_INLINE void transpose_blocks(const lt_copy_job *job, int64_t begin, int64_t end, int64_t size) {
  const int64_t x_step = job->nest.stride[LT_COPY_X][job->nest.rank - 1];
  const int64_t y_step = job->nest.stride[LT_COPY_Y][job->nest.rank - 2];
  for (int64_t unit = begin; unit < end; unit++) {
    const lt_copy_block block = lt_copy_find_block(job, unit);
    for (int64_t c = 0; c < block.cols; c++)
      for (int64_t r = 0; r < block.rows; r++)
        lt_store_bits(job->y, block.y + r * y_step + c, size, lt_load_bits(job->x, block.x + r + c * x_step, size));
  }
}

/* The transposing copy of few rows or columns, or of elements that have no form in registers. */
static void transpose_part(void *context, int64_t begin, int64_t end) {
  const lt_copy_job *job = context;
  switch (job->size) {
    case 1: transpose_blocks(job, begin, end, 1); break;
    case 2: transpose_blocks(job, begin, end, 2); break;
    case 4: transpose_blocks(job, begin, end, 4); break;
    case 8: transpose_blocks(job, begin, end, 8); break;
  }
}

LT_BITS_INLINE void copy_patch(const lt_copy_job *job, const lt_patch *patch, int64_t size) {
  const lt_nest *nest = &job->nest;
  const int r = nest->rank - 2, c = nest->rank - 1;
  const int64_t sx = nest->stride[LT_COPY_X][c], sy = nest->stride[LT_COPY_Y][c];
  for (int64_t row = 0; row < patch->rows; row++) {
    const int64_t x = patch->offset[LT_COPY_X] + row * nest->stride[LT_COPY_X][r];
    const int64_t y = patch->offset[LT_COPY_Y] + row * nest->stride[LT_COPY_Y][r];
    if (sx == 1 && sy == 1)
      memcpy(job->y + y * size, job->x + x * size, (size_t)(patch->cols * size));
    else
      for (int64_t i = 0; i < patch->cols; i++)
        lt_store_bits(job->y, y + i * sy, size, lt_load_bits(job->x, x + i * sx, size));
  }
}

static void copy_part(void *context, int64_t begin, int64_t end) {
  const lt_copy_job *job = context;
  while (begin < end) {
    const lt_patch patch = lt_nest_patch(&job->nest, begin, end);
    switch (job->size) {
      case 1: copy_patch(job, &patch, 1); break;
      case 2: copy_patch(job, &patch, 2); break;
      case 4: copy_patch(job, &patch, 4); break;
      case 8: copy_patch(job, &patch, 8); break;
    }
    begin += patch.rows * patch.cols;
  }
}

static lt_part_fn *transpose_kernel(const lt_copy_job *job, int64_t isa) {
  const lt_nest *nest = &job->nest;
  const int64_t rows = nest->dim[nest->rank - 2], cols = nest->dim[nest->rank - 1];
  const int few = cols >= 2 && cols <= 4 && nest->stride[LT_COPY_Y][nest->rank - 2] == cols;
  if (few && (job->size == 1 || job->size == 4)) return lt_copy_interleave_parts[isa];
  if (job->size == 1 && rows >= LT_COPY_BYTES && cols >= LT_COPY_BYTES) return lt_copy_transpose_bytes_parts[isa];
  if (job->size != 4) return transpose_part;
  return rows < LT_COPY_NARROW || cols < LT_COPY_NARROW ? transpose_part : lt_copy_transpose_parts[isa];
}

int64_t lt_copy_work(const void *args) {
  (void)args;
  return 0;
}

int lt_copy_run(const void *args) {
  const lt_copy_args *a = args;
  const int64_t dims[] = LT_SIX(a, d), x_strides[] = LT_SIX(a, x), y_strides[] = LT_SIX(a, y);
  lt_copy_job job = {.size = a->size, .x = a->x, .y = a->y};
  lt_nest *nest = &job.nest;
  if (!lt_is_element_size(a->size) || !lt_nest_init(nest, dims)) return LT_BAD_ARGUMENT;
  if (!lt_nest_add(nest, x_strides) || !lt_nest_add(nest, y_strides)) return LT_BAD_ARGUMENT;
  for (int i = 0; i < LT_NEST_RANK; i++)
    if (dims[i] > 1 && y_strides[i] == 0) return LT_BAD_ARGUMENT; /* an element of y would be written twice */
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (nest->count == 0) return LT_OK;
  if (!a->x || !a->y) return LT_BAD_ARGUMENT;
  sort_by_result(nest);
  lt_nest_merge(nest);
  if (!arrange_transpose(nest)) {
    lt_split(a->threads, nest->count, 1, copy_part, &job);
    return LT_OK;
  }
  const int64_t rows = nest->dim[nest->rank - 2], cols = nest->dim[nest->rank - 1];
  job.block_rows = cols < LT_COPY_BLOCK_COLS ? LT_COPY_BLOCK / cols : LT_COPY_BLOCK_ROWS;
  job.row_blocks = (rows + job.block_rows - 1) / job.block_rows;
  job.col_blocks = (cols + LT_COPY_BLOCK_COLS - 1) / LT_COPY_BLOCK_COLS;
  const int64_t units = nest->count / rows / cols * job.row_blocks * job.col_blocks;
  lt_split(a->threads, units, nest->count / units, transpose_kernel(&job, a->isa), &job);
  return LT_OK;
}
