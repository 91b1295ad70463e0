#include "eltwise/lrn.h"

#include "cpu/split.h"

LT_PARTS(lt_lrn);

int64_t lt_lrn_work(const void *args) {
  (void)args;
  return 0;
}

int lt_lrn_run(const void *args) {
  const lt_lrn_args *a = args;
  if (!LT_FITS(a->rows, a->count) || a->window < 1 || a->window > LT_LRN_MAX_WINDOW) return LT_BAD_ARGUMENT;
  if (a->ldx < a->count || a->ldy < a->count || !LT_FITS(a->rows, a->ldx) || !LT_FITS(a->rows, a->ldy))
    return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (!a->rows || !a->count) return LT_OK;
  if (!a->x || !a->y) return LT_BAD_ARGUMENT;
  lt_split(a->threads, a->rows, a->count * a->window, lt_lrn_parts[a->isa], (void *)args);
  return LT_OK;
}
