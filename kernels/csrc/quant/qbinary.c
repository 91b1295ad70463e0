#include "quant/qbinary.h"

#include "quant/sum.h"
#include "quant/types.h"

LT_PARTS(lt_qbinary);

int64_t lt_qbinary_work(const void *args) {
  (void)args;
  return 0;
}

static bool is_valid(const lt_qbinary_args *a) {
  return (a->op == LT_BINARY_ADD || a->op == LT_BINARY_MUL) && lt_is_byte(a->type) && lt_is_scale(a->a_scale) &&
         lt_is_scale(a->b_scale) && lt_is_scale(a->y_scale) && lt_in_type(a->a_zero, a->type) &&
         lt_in_type(a->b_zero, a->type) && lt_in_type(a->y_zero, a->type) && lt_is_range(a->y_min, a->y_max, a->type);
}

static void exchange(int64_t *a, int64_t *b) {
  const int64_t moved = *a;
  *a = *b;
  *b = moved;
}

/* The innermost loop decides the order of operands: one that stays put where the other moves goes second. */
static lt_qbinary_args in_order(const lt_qbinary_args *a, lt_nest *nest) {
  lt_qbinary_args o = *a;
  const int c = nest->rank - 1;
  if (nest->stride[LT_QBINARY_A][c] != 0 || nest->stride[LT_QBINARY_B][c] == 0) return o;
  o.a = a->b, o.b = a->a;
  o.a_scale = a->b_scale, o.b_scale = a->a_scale;
  o.a_zero = a->b_zero, o.b_zero = a->a_zero;
  for (int i = 0; i < nest->rank; i++) exchange(&nest->stride[LT_QBINARY_A][i], &nest->stride[LT_QBINARY_B][i]);
  return o;
}

int lt_qbinary_run(const void *args) {
  const lt_qbinary_args *given = args;
  const int64_t dims[] = LT_SIX(given, d), a_strides[] = LT_SIX(given, a), b_strides[] = LT_SIX(given, b);
  lt_qbinary_job job = {0};
  if (!is_valid(given) || !lt_nest_init(&job.nest, dims)) return LT_BAD_ARGUMENT;
  if (!lt_nest_add(&job.nest, a_strides) || !lt_nest_add(&job.nest, b_strides)) return LT_BAD_ARGUMENT;
  if (job.nest.count && !(given->a && given->b && given->y)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(given->isa)) return LT_BAD_VARIANT;
  lt_nest_add_contiguous(&job.nest);
  lt_nest_merge(&job.nest);
  const lt_qbinary_args a = in_order(given, &job.nest);
  const float a_scale = (float)a.a_scale, b_scale = (float)a.b_scale, y_scale = (float)a.y_scale;
  job.add = a.op == LT_BINARY_ADD;
  job.is_signed = a.type == LT_I8;
  job.a = a.a, job.b = a.b, job.y = a.y;
  job.a_zero = (int32_t)a.a_zero, job.b_zero = (int32_t)a.b_zero;
  job.a_ratio = job.add ? a_scale / y_scale : a_scale * b_scale / y_scale;
  job.b_ratio = b_scale / y_scale;
  job.offset = job.add ? lt_sum_offset(job.a_ratio, a.a_zero, job.b_ratio, a.b_zero, a.y_zero) : (float)a.y_zero;
  if (!isfinite(job.a_ratio) || !isfinite(job.b_ratio) || !isfinite(job.offset)) return LT_BAD_ARGUMENT;
  job.lo = (float)a.y_min, job.hi = (float)a.y_max;
  lt_split(a.threads, job.nest.count, 1, lt_qbinary_parts[a.isa], &job);
  return LT_OK;
}
