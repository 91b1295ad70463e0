#include "eltwise/softmax.h"

LT_PARTS(lt_softmax_rows);
LT_PARTS(lt_softmax_columns);

int64_t lt_softmax_work(const void *args) {
  (void)args;
  return 0;
}

int lt_softmax_run(const void *args) {
  const lt_softmax_args *a = args;
  const int64_t dims[] = {a->outer, a->count, a->inner};
  const int64_t size = lt_product(dims, 3);
  if (size < 0 || (size && !(a->x && a->y))) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (size == 0) return LT_OK;
  /* exp makes an element dearer than a copied one */
  if (a->inner == 1)
    lt_split(a->threads, a->outer, 4 * a->count, lt_softmax_rows_parts[a->isa], (void *)args);
  else
    lt_split(a->threads, a->outer * lt_softmax_strips(a->inner), 4 * a->count * LT_SOFTMAX_STRIP,
             lt_softmax_columns_parts[a->isa], (void *)args);
  return LT_OK;
}
