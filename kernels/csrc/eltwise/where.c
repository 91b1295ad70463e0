/* y = c ? a : b over tiles of a nest, by bits: the element type does not matter. */
#include "tensor/bits.h"
#include "tensor/nest.h"

enum { COND, FIRST, SECOND, RESULT }; /* the arrays of the nest */

typedef struct {
  lt_nest nest;
  const lt_where_args *args;
} where_job;

/* `size` is a constant wherever this is inlined; so are the strides of the common case. */
LT_BITS_INLINE void select_row(const where_job *job, const int64_t at[LT_NEST_ARRAYS], int64_t n, int64_t sc,
                               int64_t sa, int64_t sb, int64_t size) {
  const uint8_t *c = (const uint8_t *)job->args->c + at[COND];
  const void *a = job->args->a, *b = job->args->b;
  void *y = job->args->y;
  for (int64_t i = 0; i < n; i++) {
    const uint64_t p = lt_load_bits(a, at[FIRST] + i * sa, size), q = lt_load_bits(b, at[SECOND] + i * sb, size);
    lt_store_bits(y, at[RESULT] + i, size, c[i * sc] ? p : q);
  }
}

LT_BITS_INLINE void select_tile(const where_job *job, const lt_patch *tile, int64_t size) {
  const lt_nest *nest = &job->nest;
  const int r = nest->rank - 2, inner = nest->rank - 1;
  const int64_t sc = nest->stride[COND][inner], sa = nest->stride[FIRST][inner], sb = nest->stride[SECOND][inner];
  for (int64_t row = 0; row < tile->rows; row++) {
    int64_t at[LT_NEST_ARRAYS];
    for (int k = 0; k < LT_NEST_ARRAYS; k++) at[k] = tile->offset[k] + row * nest->stride[k][r];
    if (sc == 1 && sa == 1 && sb == 1)
      select_row(job, at, tile->cols, 1, 1, 1, size);
    else
      select_row(job, at, tile->cols, sc, sa, sb, size);
  }
}

static void where_part(void *context, int64_t begin, int64_t end) {
  const where_job *job = context;
  while (begin < end) {
    const lt_patch tile = lt_nest_patch(&job->nest, begin, end);
    switch (job->args->size) {
      case 1: select_tile(job, &tile, 1); break;
      case 2: select_tile(job, &tile, 2); break;
      case 4: select_tile(job, &tile, 4); break;
      case 8: select_tile(job, &tile, 8); break;
    }
    begin += tile.rows * tile.cols;
  }
}

int64_t lt_where_work(const void *args) {
  (void)args;
  return 0;
}

int lt_where_run(const void *args) {
  const lt_where_args *a = args;
  const int64_t dims[] = LT_SIX(a, d), c_strides[] = LT_SIX(a, c), a_strides[] = LT_SIX(a, a),
                b_strides[] = LT_SIX(a, b);
  where_job job = {.args = a};
  if (!lt_is_element_size(a->size)) return LT_BAD_ARGUMENT;
  if (!lt_nest_init(&job.nest, dims)) return LT_BAD_ARGUMENT;
  if (!lt_nest_add(&job.nest, c_strides) || !lt_nest_add(&job.nest, a_strides) || !lt_nest_add(&job.nest, b_strides))
    return LT_BAD_ARGUMENT;
  if (job.nest.count && !(a->c && a->a && a->b && a->y)) return LT_BAD_ARGUMENT;
  lt_nest_add_contiguous(&job.nest);
  lt_nest_merge(&job.nest);
  lt_split(a->threads, job.nest.count, 1, where_part, &job);
  return LT_OK;
}
