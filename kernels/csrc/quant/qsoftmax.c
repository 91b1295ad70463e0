/* Softmax of bytes as ONNX Runtime defines it. Sums are taken one by one, since their rounding is part of the result.
 */
#include "cpu/split.h"
#include "quant/types.h"

static void softmax_row(const lt_qsoftmax_args *a, const uint8_t *x, uint8_t *y) {
  const uint8_t flip = a->type == LT_I8 ? 0x80 : 0;
  const float *exps = a->exps, factor = (float)a->factor;
  const float low = (float)(lt_type_min(a->type) - a->y_zero), high = (float)(lt_type_max(a->type) - a->y_zero);
  uint8_t max = 0;
  for (int64_t i = 0; i < a->count; i++)
    if ((x[i] ^ flip) > max) max = x[i] ^ flip;
  exps += 255 - max;
  float sum = 0.0f;
  for (int64_t i = 0; i < a->count; i++) sum += exps[x[i] ^ flip];
  for (int64_t i = 0; i < a->count; i++) {
    float v = exps[x[i] ^ flip] * factor / sum;
    v = v > low ? v < high ? v : high : low; /* NaN gives the low bound */
    y[i] = (uint8_t)((int64_t)rintf(v) + a->y_zero);
  }
}

static void softmax_part(void *context, int64_t begin, int64_t end) {
  const lt_qsoftmax_args *a = context;
  for (int64_t r = begin; r < end; r++)
    softmax_row(a, (const uint8_t *)a->x + r * a->count, (uint8_t *)a->y + r * a->count);
}

int64_t lt_qsoftmax_work(const void *args) {
  (void)args;
  return 0;
}

int lt_qsoftmax_run(const void *args) {
  const lt_qsoftmax_args *a = args;
  if (!lt_is_byte(a->type) || !lt_in_type(a->y_zero, a->type) || !lt_is_scale(a->factor)) return LT_BAD_ARGUMENT;
  if (!LT_FITS(a->outer, a->count)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (a->outer * a->count == 0) return LT_OK;
  if (!a->x || !a->exps || !a->y) return LT_BAD_ARGUMENT;
  lt_split(a->threads, a->outer, a->count * 4, softmax_part, (void *)args);
  return LT_OK;
}
