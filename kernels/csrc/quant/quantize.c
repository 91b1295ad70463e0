/* The drivers of QUANTIZE, DEQUANTIZE and DYNAMIC_QUANTIZE: they cut tensors into rows with one scale or one each. */
#include "quant/quantize.h"

#include "cpu/num.h"
#include "cpu/split.h"
#include "quant/types.h"

#define LT_DECLARE_ROWS(isa)                         \
  extern lt_quantize_row_fn lt_quantize_row_##isa;   \
  extern lt_quantize_row_fn lt_dequantize_row_##isa; \
  extern lt_min_max_fn lt_min_max_##isa;
LT_DECLARE_ROWS(scalar)
LT_DECLARE_ROWS(avx2)
LT_DECLARE_ROWS(avx512)
LT_DECLARE_ROWS(neon)

static lt_quantize_row_fn *const quantize_rows[LT_ISA_COUNT] = LT_ISA_TABLE(lt_quantize_row);
static lt_quantize_row_fn *const dequantize_rows[LT_ISA_COUNT] = LT_ISA_TABLE(lt_dequantize_row);
static lt_min_max_fn *const min_max[LT_ISA_COUNT] = LT_ISA_TABLE(lt_min_max);

/* A tensor of `units` rows of `row.n` elements, but the last row of every `group` of them is shorter if `tail` is not
 * 0. */
typedef struct {
  lt_quantize_row row;
  lt_quantize_row_fn *fn;
  const char *x;
  char *y;
  const float *scale;
  const int32_t *zero;
  int64_t x_size, y_size;
  int64_t outer, count, inner, block;
} quantize_job;

static int64_t size_of(int64_t type) { return type == LT_I32 ? 4 : lt_is_byte(type) ? 1 : 2; }

/* n elements from `at` on, whose scale starts at index `scale`. */
static void run_row(const quantize_job *job, int64_t at, int64_t n, int64_t scale, int per_element) {
  lt_quantize_row row = job->row;
  row.n = n;
  row.scale = job->scale + scale;
  row.zero = job->zero ? job->zero + scale : 0;
  row.per_element = per_element;
  job->fn(&row, job->x + at * job->x_size, job->y + at * job->y_size);
}

static void whole_part(void *context, int64_t begin, int64_t end) { run_row(context, begin, end - begin, 0, 0); }

/* Units are rows of `count` with a scale each. */
static void last_axis_part(void *context, int64_t begin, int64_t end) {
  const quantize_job *job = context;
  for (int64_t o = begin; o < end; o++) run_row(job, o * job->count, job->count, 0, 1);
}

/* Units are rows of `inner`. */
static void axis_part(void *context, int64_t begin, int64_t end) {
  const quantize_job *job = context;
  for (int64_t u = begin; u < end; u++) run_row(job, u * job->inner, job->inner, u % job->count, 0);
}

/* Units are rows of `inner`, each with the scales of its block. */
static void block_part(void *context, int64_t begin, int64_t end) {
  const quantize_job *job = context;
  const int64_t blocks = ceil_div(job->count, job->block);
  for (int64_t u = begin; u < end; u++) {
    const int64_t o = u / job->count, i = u % job->count;
    run_row(job, u * job->inner, job->inner, (o * blocks + i / job->block) * job->inner, 1);
  }
}

/* Units are blocks of elements of the last axis. */
static void last_block_part(void *context, int64_t begin, int64_t end) {
  const quantize_job *job = context;
  const int64_t blocks = ceil_div(job->count, job->block);
  for (int64_t u = begin; u < end; u++) {
    const int64_t o = u / blocks, i = u % blocks * job->block;
    run_row(job, o * job->count + i, min64(job->block, job->count - i), u, 0);
  }
}

static int run_job(quantize_job *job, int64_t threads) {
  const int64_t outer = job->outer, count = job->count, inner = job->inner, block = job->block;
  const int64_t dims[] = {outer, count, inner, (int64_t)sizeof(float)};
  const int64_t bytes = lt_product(dims, 4), n = bytes / (int64_t)sizeof(float);
  if (bytes < 0 || block < 0) return LT_BAD_ARGUMENT;
  if (n == 0) return LT_OK;
  if (!job->x || !job->y || !job->scale) return LT_BAD_ARGUMENT;
  if (block == 0 && outer == 1 && count == 1)
    lt_split(threads, n, 1, whole_part, job);
  else if (block == 0 && inner == 1)
    lt_split(threads, outer, count, last_axis_part, job);
  else if (block == 0)
    lt_split(threads, outer * count, inner, axis_part, job);
  else if (inner == 1)
    lt_split(threads, outer * ceil_div(count, block), block, last_block_part, job);
  else
    lt_split(threads, outer * count, inner, block_part, job);
  return LT_OK;
}

int64_t lt_quantize_work(const void *args) {
  (void)args;
  return 0;
}

int lt_quantize_run(const void *args) {
  const lt_quantize_args *a = args;
  if (!lt_is_byte(a->type) && a->type != LT_U16 && a->type != LT_I16) return LT_BAD_ARGUMENT;
  if (!lt_is_range(a->y_min, a->y_max, a->type)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  quantize_job job = {.row = {.type = a->type, .y_min = a->y_min, .y_max = a->y_max},
                      .fn = quantize_rows[a->isa],
                      .x = a->x,
                      .y = a->y,
                      .scale = a->scale,
                      .zero = a->zero,
                      .x_size = sizeof(float),
                      .y_size = size_of(a->type),
                      .outer = a->outer,
                      .count = a->count,
                      .inner = a->inner,
                      .block = a->block};
  return run_job(&job, a->threads);
}

int64_t lt_dequantize_work(const void *args) {
  (void)args;
  return 0;
}

int lt_dequantize_run(const void *args) {
  const lt_dequantize_args *a = args;
  if (!lt_is_byte(a->type) && a->type != LT_U16 && a->type != LT_I16 && a->type != LT_I32) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  quantize_job job = {.row = {.type = a->type},
                      .fn = dequantize_rows[a->isa],
                      .x = a->x,
                      .y = a->y,
                      .scale = a->scale,
                      .zero = a->zero,
                      .x_size = size_of(a->type),
                      .y_size = sizeof(float),
                      .outer = a->outer,
                      .count = a->count,
                      .inner = a->inner,
                      .block = a->block};
  return run_job(&job, a->threads);
}

/* The range of each share of this many elements goes to `work`. */
#define RANGE_SHARE 65536

static void range_part(void *context, int64_t begin, int64_t end) {
  const lt_dynamic_quantize_args *a = context;
  float *ranges = a->work;
  for (int64_t i = begin; i < end; i++) {
    const int64_t from = i * RANGE_SHARE, n = min64(RANGE_SHARE, a->n - from);
    min_max[a->isa]((const float *)a->x + from, n, &ranges[2 * i], &ranges[2 * i + 1]);
  }
}

int64_t lt_dynamic_quantize_work(const void *args) {
  const lt_dynamic_quantize_args *a = args;
  if (a->n < 0 || a->n > LT_MAX_ELEMENTS) return 0;
  return ceil_div(a->n, RANGE_SHARE) * 2 * (int64_t)sizeof(float);
}

int lt_dynamic_quantize_run(const void *args) {
  const lt_dynamic_quantize_args *a = args;
  if (a->n < 0 || a->n > LT_MAX_ELEMENTS || !a->scale || !a->zero) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (a->n && !(a->x && a->y)) return LT_BAD_ARGUMENT;
  if (a->n && !a->work) return LT_NO_WORKSPACE;
  const int64_t shares = ceil_div(a->n, RANGE_SHARE);
  lt_split(a->threads, shares, RANGE_SHARE, range_part, (void *)args);
  float low = 0.0f, high = 0.0f;
  for (int64_t i = 0; i < shares; i++) {
    low = fminf(low, ((const float *)a->work)[2 * i]);
    high = fmaxf(high, ((const float *)a->work)[2 * i + 1]);
  }
  float scale = high == low ? 1.0f : (high - low) / 255.0f;
  const int32_t zero = (int32_t)rintf(fminf(255.0f, fmaxf(0.0f, -low / scale)));
  *(float *)a->scale = scale;
  *(uint8_t *)a->zero = (uint8_t)zero;
  quantize_job job = {.row = {.type = LT_U8, .y_min = 0, .y_max = UINT8_MAX},
                      .fn = quantize_rows[a->isa],
                      .x = a->x,
                      .y = a->y,
                      .scale = &scale,
                      .zero = &zero,
                      .x_size = sizeof(float),
                      .y_size = 1,
                      .outer = 1,
                      .count = 1,
                      .inner = a->n};
  return run_job(&job, a->threads);
}
