#include "quant/qmean.h"

#include "quant/types.h"

LT_PARTS(lt_qmean);

int64_t lt_qmean_work(const void *args) {
  (void)args;
  return 0;
}

int lt_qmean_run(const void *args) {
  const lt_qmean_args *a = args;
  if (!lt_is_byte(a->type) || !lt_in_type(a->x_zero, a->type) || !lt_in_type(a->y_zero, a->type))
    return LT_BAD_ARGUMENT;
  if (!LT_FITS(a->outer, a->count, a->inner) || !lt_is_scale(a->scale)) return LT_BAD_ARGUMENT;
  if (a->count < 1 || a->count > INT32_MAX / 255) return LT_BAD_ARGUMENT; /* sums are int32 */
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (a->outer * a->inner == 0) return LT_OK;
  if (!a->x || !a->y) return LT_BAD_ARGUMENT;
  lt_split(a->threads, a->outer * lt_qmean_blocks(a), a->count * LT_QMEAN_BLOCK, lt_qmean_parts[a->isa], (void *)args);
  return LT_OK;
}
