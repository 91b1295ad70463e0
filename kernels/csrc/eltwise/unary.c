#include "cpu/split.h"

LT_PARTS(lt_unary);

int64_t lt_unary_work(const void *args) {
  (void)args;
  return 0;
}

int lt_unary_run(const void *args) {
  const lt_unary_args *a = args;
  if (a->n < 0 || a->n > LT_MAX_ELEMENTS || (a->n && !(a->x && a->y))) return LT_BAD_ARGUMENT;
  if (a->op < 0 || a->op >= LT_UNARY_COUNT || a->act < 0 || a->act >= LT_ACT_COUNT) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  lt_split(a->threads, a->n, 1, lt_unary_parts[a->isa], (void *)args);
  return LT_OK;
}
