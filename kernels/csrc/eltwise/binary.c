#include "eltwise/binary.h"

LT_PARTS(lt_binary);

int64_t lt_binary_work(const void *args) {
  (void)args;
  return 0;
}

int lt_binary_run(const void *args) {
  const lt_binary_args *a = args;
  const int64_t dims[] = LT_SIX(a, d), a_strides[] = LT_SIX(a, a), b_strides[] = LT_SIX(a, b);
  lt_binary_job job = {.op = a->op, .act = a->act, .a = a->a, .b = a->b, .y = a->y};
  job.alpha = (float)a->alpha;
  job.beta = (float)a->beta;
  if (a->op < 0 || a->op >= LT_BINARY_COUNT || a->act < 0 || a->act >= LT_ACT_COUNT) return LT_BAD_ARGUMENT;
  if (!lt_nest_init(&job.nest, dims)) return LT_BAD_ARGUMENT;
  if (!lt_nest_add(&job.nest, a_strides) || !lt_nest_add(&job.nest, b_strides)) return LT_BAD_ARGUMENT;
  if (job.nest.count && !(a->a && a->b && a->y)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  lt_nest_add_contiguous(&job.nest);
  lt_nest_merge(&job.nest);
  lt_split(a->threads, job.nest.count, 1, lt_binary_parts[a->isa], &job);
  return LT_OK;
}
