#include "eltwise/reduce.h"

LT_PARTS(lt_reduce_rows);
LT_PARTS(lt_reduce_columns);

int64_t lt_reduce_work(const void *args) {
  (void)args;
  return 0;
}

int lt_reduce_run(const void *args) {
  const lt_reduce_args *a = args;
  const int64_t in_dims[] = {a->outer, a->count, a->inner}, out_dims[] = {a->outer, a->inner};
  const int64_t in_size = lt_product(in_dims, 3), out_size = lt_product(out_dims, 2);
  if (a->op < 0 || a->op >= LT_REDUCE_COUNT || in_size < 0 || out_size < 0) return LT_BAD_ARGUMENT;
  if ((in_size && !a->x) || (out_size && !a->y)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (out_size == 0) return LT_OK;
  if (a->inner == 1)
    lt_split(a->threads, a->outer, a->count, lt_reduce_rows_parts[a->isa], (void *)args);
  else
    lt_split(a->threads, a->outer * lt_reduce_strips(a->inner), in_size / (a->outer * lt_reduce_strips(a->inner)),
             lt_reduce_columns_parts[a->isa], (void *)args);
  return LT_OK;
}
