#include "cpu/split.h"

LT_PARTS(lt_resize_linear);

static int in_range(const int64_t *index, int64_t n, int64_t limit) {
  for (int64_t i = 0; i < n; i++)
    if (index[i] < 0 || index[i] >= limit) return 0;
  return 1;
}

int64_t lt_resize_linear_work(const void *args) {
  (void)args;
  return 0;
}

int lt_resize_linear_run(const void *args) {
  const lt_resize_linear_args *a = args;
  const int64_t in_dims[] = {a->n, a->ih, a->iw, a->c}, out_dims[] = {a->n, a->oh, a->ow, a->c};
  const int64_t in_size = lt_product(in_dims, 4), out_size = lt_product(out_dims, 4);
  if (in_size < 0 || out_size < 0) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (out_size == 0) return LT_OK;
  if (!a->x || !a->y || !a->index_h || !a->weight_h || !a->index_w || !a->weight_w) return LT_BAD_ARGUMENT;
  if (!in_range(a->index_h, 2 * a->oh, a->ih) || !in_range(a->index_w, 2 * a->ow, a->iw)) return LT_BAD_ARGUMENT;
  lt_split(a->threads, a->n * a->oh, 4 * a->ow * a->c, lt_resize_linear_parts[a->isa], (void *)args);
  return LT_OK;
}
