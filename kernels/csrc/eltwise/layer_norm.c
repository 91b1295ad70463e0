#include "cpu/split.h"

LT_PARTS(lt_layer_norm);

int64_t lt_layer_norm_work(const void *args) {
  (void)args;
  return 0;
}

/* A null scale or bias is left out. */
int lt_layer_norm_run(const void *args) {
  const lt_layer_norm_args *a = args;
  const int64_t dims[] = {a->outer, a->count};
  const int64_t size = lt_product(dims, 2);
  if (size < 0 || (size && !(a->x && a->y))) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (size) lt_split(a->threads, a->outer, a->count, lt_layer_norm_parts[a->isa], (void *)args);
  return LT_OK;
}
