/* How far operators reach: a function for each, in their order in lt_ops.h. */
#include "luthier/lt_reach.h"

#include <stddef.h>
#include <string.h>

#include "cpu/cpu.h"
#include "cpu/num.h"
#include "cpu/split.h"
#include "gemm/half.h"
#include "keep.h"
#include "quant/nbits.h"
#include "quant/qdwconv.h"
#include "quant/qgemm.h"

/* What is found about one call. */
typedef struct {
  lt_reach *reach;
  int bad; /* a size is negative or too large, or something is written over and over */
} finding;

/* `count` things, each `step` elements after the one before it. */
typedef struct {
  int64_t count, step;
} loop;

static void touch(finding *f, size_t offset, int64_t access, int64_t size, const loop *loops, size_t n) {
  int64_t low = 0, high = 0, some = 1, again = 0;
  int bad = size < 0 || size > 8;
  for (size_t i = 0; i < n && !bad; i++) {
    int64_t far;
    bad = loops[i].count < 0 || __builtin_mul_overflow(max64(loops[i].count, 1) - 1, loops[i].step, &far) ||
          far > LT_MAX_ELEMENTS || far < -LT_MAX_ELEMENTS;
    if (bad) break;
    if (far < 0)
      low += far;
    else
      high += far;
    some &= loops[i].count > 0;
    again |= loops[i].count > 1 && loops[i].step == 0;
  }
  if (bad || (access == LT_WRITES && some && again))
    f->bad = 1;
  else
    f->reach[offset / 8] = (lt_reach){access, some ? low * size : 0, some ? (high + 1) * size : 0};
}

/* TOUCH(LT_READS, x, 4, {rows, ldx}, {cols, 1}): the field x points to so many elements of 4 bytes. */
#define TOUCH(access, field, size, ...)                                                \
  touch(f, offsetof(__typeof__(*a), field), access, size, (const loop[]){__VA_ARGS__}, \
        sizeof((const loop[]){__VA_ARGS__}) / sizeof(loop))
#define READS(...) TOUCH(LT_READS, __VA_ARGS__)
#define WRITES(...) TOUCH(LT_WRITES, __VA_ARGS__)
#define CHECKS(...) TOUCH(LT_CHECKS, __VA_ARGS__)

/* The product of sizes. */
#define COUNT(...) product(f, (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static int64_t product(finding *f, const int64_t *sizes, int n) {
  const int64_t found = lt_product(sizes, n);
  if (found < 0) f->bad = 1;
  return max64(0, found);
}

/* a / b rounded up, 0 where that is not possible. */
static int64_t pieces(finding *f, int64_t a, int64_t b) {
  if (a < 0 || a > LT_MAX_ELEMENTS || b < 1 || b > LT_MAX_ELEMENTS) f->bad = 1;
  return f->bad ? 0 : ceil_div(a, b);
}

/* a / b, which the operator wants to be whole. */
static int64_t share(finding *f, int64_t a, int64_t b) {
  if (a < 0 || b < 1) f->bad = 1;
  return f->bad ? 0 : a / b;
}

static int64_t type_size(finding *f, int64_t type) {
  static const int8_t sizes[LT_DTYPE_COUNT] = {4, 2, 8, 1, 1, 2, 2, 4, 8, 1};
  if (type < 0 || type >= LT_DTYPE_COUNT) f->bad = 1;
  return f->bad ? 0 : sizes[type];
}

/* Floats, or words of halves, of a packed (k, n) matrix. */
static int64_t packed(finding *f, int64_t isa, int64_t k, int64_t n) {
  const int64_t lanes = lt_isa_lanes(isa);
  const lt_half *half = lt_half_of(isa);
  if (half) k = COUNT(pieces(f, k, half->group), half->group / 2);
  return COUNT(k, lanes, pieces(f, n, lanes));
}

/* Bytes of packed bytes: `nseg` runs of k. */
static int64_t packed_bytes(finding *f, int64_t isa, int64_t nseg, int64_t run, int64_t n) {
  const lt_qformat *format = lt_qformat_of(isa);
  if (!format) {
    f->bad = 1;
    return 0;
  }
  const int64_t columns = COUNT(format->lanes, pieces(f, n, format->lanes));
  const int64_t bytes = COUNT(nseg, format->group, pieces(f, run, format->group), format->size);
  return COUNT(columns, bytes + 4);
}

/* Nests of six loops, with the strides of fields p0 to p5. */
#define SIX_LOOPS(p) \
  {a->d0, a->p##0}, {a->d1, a->p##1}, {a->d2, a->p##2}, {a->d3, a->p##3}, {a->d4, a->p##4}, {a->d5, a->p##5}
#define SIX_DIMS COUNT(a->d0, a->d1, a->d2, a->d3, a->d4, a->d5)

static void reach_gemm(finding *f, const void *args) {
  const lt_gemm_args *a = args;
  READS(a, 4, {a->batch, a->stride_a}, {a->m, a->lda}, {a->k, 1});
  if (!a->w_packed)
    READS(w, 4, {a->batch, a->stride_w}, {a->k, a->w_ks}, {a->n, a->w_ns});
  else if (a->strassen)
    READS(w, 4, {a->batch, a->stride_w}, {COUNT(7, packed(f, a->isa, a->k / 2, a->n / 2)), 1});
  else
    READS(w, 4, {a->batch, a->stride_w}, {packed(f, a->isa, a->k, a->n), 1});
  READS(bias, 4, {a->n, 1});
  READS(residual, 4, {a->batch, a->stride_r}, {a->m, a->ldr}, {a->n, 1});
  WRITES(y, 4, {a->batch, a->stride_y}, {a->m, a->ldy}, {a->n, 1});
}

/* Floats of a convolution's packed weights. */
static int64_t conv_weights(finding *f, const lt_conv2d_args *a) {
  const int64_t k = share(f, a->ic, a->groups), n = share(f, a->oc, a->groups);
  switch (a->algo) {
    case LT_CONV_STRASSEN: return COUNT(7, packed(f, a->isa, k / 2, n / 2));
    case LT_CONV_WINOGRAD2:
    case LT_CONV_WINOGRAD4:
    case LT_CONV_WINOGRAD6: {
      const int64_t span = 2 * (a->algo - LT_CONV_WINOGRAD2) + 4;
      return COUNT(a->groups, span * span, packed(f, a->isa, k, n));
    }
    default: return COUNT(a->groups, packed(f, a->isa, COUNT(a->kh, a->kw, k), n));
  }
}

static void reach_conv2d(finding *f, const void *args) {
  const lt_conv2d_args *a = args;
  const int64_t pixels = COUNT(a->n, a->oh, a->ow);
  READS(x, 4, {COUNT(a->n, a->ih, a->iw), a->ldx}, {a->ic, 1});
  READS(w, 4, {conv_weights(f, a), 1});
  READS(bias, 4, {a->oc, 1});
  READS(residual, 4, {pixels, a->ldr}, {a->oc, 1});
  WRITES(y, 4, {pixels, a->ldy}, {a->oc, 1});
}

static void reach_depthwise_conv2d(finding *f, const void *args) {
  const lt_depthwise_conv2d_args *a = args;
  const int64_t pixels = COUNT(a->n, a->oh, a->ow);
  READS(x, 4, {COUNT(a->n, a->ih, a->iw), a->ldx}, {a->c, 1});
  READS(w, 4, {COUNT(a->kh, a->kw, a->c), 1});
  READS(bias, 4, {a->c, 1});
  READS(residual, 4, {pixels, a->ldr}, {a->c, 1});
  WRITES(y, 4, {pixels, a->ldy}, {a->c, 1});
}

static void reach_pool2d(finding *f, const void *args) {
  const lt_pool2d_args *a = args;
  const int64_t size = type_size(f, a->type);
  READS(x, size, {COUNT(a->n, a->ih, a->iw), a->ldx}, {a->c, 1});
  WRITES(y, size, {COUNT(a->n, a->oh, a->ow), a->ldy}, {a->c, 1});
}

static void reach_unary(finding *f, const void *args) {
  const lt_unary_args *a = args;
  READS(x, 4, {a->n, 1});
  WRITES(y, 4, {a->n, 1});
}

static void reach_binary(finding *f, const void *args) {
  const lt_binary_args *a = args;
  READS(a, 4, SIX_LOOPS(a));
  READS(b, 4, SIX_LOOPS(b));
  WRITES(y, a->op >= LT_BINARY_EQUAL ? 1 : 4, {SIX_DIMS, 1});
}

static void reach_copy(finding *f, const void *args) {
  const lt_copy_args *a = args;
  const int64_t size = COUNT(a->size);
  READS(x, size, SIX_LOOPS(x));
  WRITES(y, size, SIX_LOOPS(y));
}

static void reach_take(finding *f, const void *args) {
  const lt_take_args *a = args;
  const int64_t row = COUNT(a->y_count, a->inner), size = COUNT(a->size);
  READS(x, size, {COUNT(a->outer, a->x_count, a->inner), 1});
  CHECKS(index, 8, {a->y_count, 1});
  WRITES(y, size, {a->outer, a->y_step ? a->y_step : row}, {row, 1});
}

static void reach_gather(finding *f, const void *args) {
  const lt_gather_args *a = args;
  const int64_t size = COUNT(a->size);
  READS(x, size, {COUNT(a->outer, a->x_count, a->inner), 1});
  CHECKS(index, a->index_size == 4 ? 4 : 8, {a->y_count, 1});
  WRITES(y, size, {COUNT(a->outer, a->y_count, a->inner), 1});
}

static void reach_reduce(finding *f, const void *args) {
  const lt_reduce_args *a = args;
  READS(x, 4, {COUNT(a->outer, a->count, a->inner), 1});
  WRITES(y, 4, {COUNT(a->outer, a->inner), 1});
}

static void reach_softmax(finding *f, const void *args) {
  const lt_softmax_args *a = args;
  const int64_t n = COUNT(a->outer, a->count, a->inner);
  READS(x, 4, {n, 1});
  WRITES(y, 4, {n, 1});
}

static void reach_layer_norm(finding *f, const void *args) {
  const lt_layer_norm_args *a = args;
  const int64_t n = COUNT(a->outer, a->count);
  READS(x, 4, {n, 1});
  READS(scale, 4, {a->count, 1});
  READS(bias, 4, {a->count, 1});
  WRITES(y, 4, {n, 1});
}

static void reach_lrn(finding *f, const void *args) {
  const lt_lrn_args *a = args;
  READS(x, 4, {a->rows, a->ldx}, {a->count, 1});
  WRITES(y, 4, {a->rows, a->ldy}, {a->count, 1});
}

static void reach_cast(finding *f, const void *args) {
  const lt_cast_args *a = args;
  READS(x, type_size(f, a->from), {a->n, 1});
  WRITES(y, type_size(f, a->to), {a->n, 1});
}

static void reach_where(finding *f, const void *args) {
  const lt_where_args *a = args;
  const int64_t size = COUNT(a->size);
  READS(c, 1, SIX_LOOPS(c));
  READS(a, size, SIX_LOOPS(a));
  READS(b, size, SIX_LOOPS(b));
  WRITES(y, size, {SIX_DIMS, 1});
}

static void reach_resize_linear(finding *f, const void *args) {
  const lt_resize_linear_args *a = args;
  READS(x, 4, {COUNT(a->n, a->ih, a->iw, a->c), 1});
  WRITES(y, 4, {COUNT(a->n, a->oh, a->ow, a->c), 1});
  CHECKS(index_h, 8, {COUNT(2, a->oh), 1});
  CHECKS(index_w, 8, {COUNT(2, a->ow), 1});
  READS(weight_h, 4, {COUNT(2, a->oh), 1});
  READS(weight_w, 4, {COUNT(2, a->ow), 1});
}

static void reach_lstm(finding *f, const void *args) {
  const lt_lstm_args *a = args;
  const int64_t state = COUNT(a->batch, a->hidden);
  READS(x, 4, {COUNT(a->steps, 4, state), 1});
  READS(w, 4, {packed(f, a->isa, a->hidden, COUNT(4, a->hidden)), 1});
  READS(h0, 4, {state, 1});
  READS(c0, 4, {state, 1});
  WRITES(y, 4, {a->steps, a->ldy}, {state, 1});
  WRITES(h, 4, {state, 1});
  WRITES(c, 4, {state, 1});
}

/* The fields of LT_QUANT_FIELDS but the residual, for n columns. */
#define READS_QUANT(n)         \
  READS(bias, 4, {n, 1});      \
  READS(scale, 4, {n, 1});     \
  READS(fbias, 4, {n, 1});     \
  READS(a_zero_at, 1, {1, 1}); \
  READS(a_scale, 4, {1, 1});   \
  READS(table, 1, {256, 1})

static void reach_qdepthwise_conv2d(finding *f, const void *args) {
  const lt_qdepthwise_conv2d_args *a = args;
  const int64_t pixels = COUNT(a->n, a->oh, a->ow);
  READS(x, 1, {COUNT(a->n, a->ih, a->iw), a->ldx}, {a->c, 1});
  const int64_t taps = COUNT(max64(1, a->kh), max64(1, a->kw), a->c);
  if (a->special && !f->bad) {
    const int64_t blocks = COUNT(pieces(f, a->c, LT_QDW_BLOCK), lt_qdw_block_bytes(a->isa, a->kh, a->kw, a->sw));
    READS(w, 1, {COUNT(a->c, 4) + blocks, 1});
  } else {
    READS(w, 4, {taps, 1});
  }
  READS_QUANT(a->c);
  READS(residual, 1, {pixels, a->ldr}, {a->c, 1});
  WRITES(y, 1, {pixels, a->ldy}, {a->c, 1});
}

/* Entries of the scales of QUANTIZE and DEQUANTIZE. */
static int64_t scales(finding *f, int64_t outer, int64_t count, int64_t inner, int64_t block) {
  return block ? COUNT(outer, pieces(f, count, block), inner) : count;
}

static void reach_quantize(finding *f, const void *args) {
  const lt_quantize_args *a = args;
  const int64_t n = COUNT(a->outer, a->count, a->inner), parts = scales(f, a->outer, a->count, a->inner, a->block);
  READS(x, 4, {n, 1});
  READS(scale, 4, {parts, 1});
  READS(zero, 4, {parts, 1});
  WRITES(y, type_size(f, a->type), {n, 1});
}

static void reach_dequantize(finding *f, const void *args) {
  const lt_dequantize_args *a = args;
  const int64_t n = COUNT(a->outer, a->count, a->inner), parts = scales(f, a->outer, a->count, a->inner, a->block);
  READS(x, type_size(f, a->type), {n, 1});
  READS(scale, 4, {parts, 1});
  READS(zero, 4, {parts, 1});
  WRITES(y, 4, {n, 1});
}

static void reach_dynamic_quantize(finding *f, const void *args) {
  const lt_dynamic_quantize_args *a = args;
  READS(x, 4, {a->n, 1});
  WRITES(y, 1, {a->n, 1});
  WRITES(scale, 4, {1, 1});
  WRITES(zero, 1, {1, 1});
}

static void reach_qbinary(finding *f, const void *args) {
  const lt_qbinary_args *a = args;
  READS(a, 1, SIX_LOOPS(a));
  READS(b, 1, SIX_LOOPS(b));
  WRITES(y, 1, {SIX_DIMS, 1});
}

static void reach_lookup(finding *f, const void *args) {
  const lt_lookup_args *a = args;
  READS(x, 1, {a->rows, a->ldx}, {a->cols, 1});
  READS(table, 1, {256, 1});
  WRITES(y, 1, {a->rows, a->ldy}, {a->cols, 1});
}

static void reach_qmean(finding *f, const void *args) {
  const lt_qmean_args *a = args;
  READS(x, 1, {COUNT(a->outer, a->count, a->inner), 1});
  WRITES(y, 1, {COUNT(a->outer, a->inner), 1});
}

static void reach_qsoftmax(finding *f, const void *args) {
  const lt_qsoftmax_args *a = args;
  const int64_t n = COUNT(a->outer, a->count);
  READS(x, 1, {n, 1});
  READS(exps, 4, {256, 1});
  WRITES(y, 1, {n, 1});
}

static void reach_qgemm(finding *f, const void *args) {
  const lt_qgemm_args *a = args;
  READS(a, 1, {a->batch, a->stride_a}, {a->m, a->lda}, {a->k, 1});
  if (a->w_packed)
    READS(w, 1, {a->batch, a->stride_w}, {packed_bytes(f, a->isa, 1, a->k, a->n), 1});
  else
    READS(w, 1, {a->batch, a->stride_w}, {a->k, a->w_ks}, {a->n, a->w_ns});
  READS(w_zero, 1, {a->n, a->w_zero_ns});
  READS_QUANT(a->n);
  READS(residual, 1, {a->batch, a->stride_r}, {a->m, a->ldr}, {a->n, 1});
  WRITES(y, type_size(f, a->y_type), {a->batch, a->stride_y}, {a->m, a->ldy}, {a->n, 1});
}

static void reach_gemm_nbits(finding *f, const void *args) {
  const lt_gemm_nbits_args *a = args;
  const int64_t panels = pieces(f, a->n, LT_NBITS_COLS), blocks = pieces(f, a->k, a->block);
  READS(a, 4, {a->m, a->lda}, {a->k, 1});
  READS(w, 4, {COUNT(panels, pieces(f, a->k, LT_NBITS_K), LT_NBITS_COLS), 1});
  READS(scale, 4, {COUNT(panels, blocks, LT_NBITS_COLS), 1});
  READS(zero, 4, {COUNT(panels, blocks, LT_NBITS_COLS), 1});
  READS(bias, 4, {a->n, 1});
  WRITES(y, 4, {a->m, a->ldy}, {a->n, 1});
}

static void reach_qconv2d(finding *f, const void *args) {
  const lt_qconv2d_args *a = args;
  const int64_t k = share(f, a->ic, a->groups), n = share(f, a->oc, a->groups);
  const int64_t pixels = COUNT(a->n, a->oh, a->ow);
  int64_t nseg = 0, run = 0;
  COUNT(max64(1, a->kh), max64(1, a->kw), max64(1, k));
  if (!f->bad) lt_qconv2d_runs(a, k, &nseg, &run);
  READS(x, 1, {COUNT(a->n, a->ih, a->iw), a->ldx}, {a->ic, 1});
  READS(w, 1, {COUNT(a->groups, packed_bytes(f, a->isa, nseg, run, n)), 1});
  READS_QUANT(a->oc);
  READS(residual, 1, {pixels, a->ldr}, {a->oc, 1});
  WRITES(y, type_size(f, a->y_type), {pixels, a->ldy}, {a->oc, 1});
}

/* -- the table ---------------------------------------------------------------------------------------------------- */

#define NUMBER(lower, UPPER) OP_##lower,
enum { LT_OPS(NUMBER) OP_COUNT };

typedef void reach_fn(finding *f, const void *args);

/* An operator that is not here cannot be exported. */
#define KNOWN(lower) [OP_##lower] = LT_KEEP(LT_WITHOUT_OP_##lower, reach_##lower)
static reach_fn *const known[OP_COUNT] = {
    KNOWN(gemm),
    KNOWN(conv2d),
    KNOWN(depthwise_conv2d),
    KNOWN(pool2d),
    KNOWN(unary),
    KNOWN(binary),
    KNOWN(copy),
    KNOWN(take),
    KNOWN(gather),
    KNOWN(reduce),
    KNOWN(softmax),
    KNOWN(layer_norm),
    KNOWN(lrn),
    KNOWN(cast),
    KNOWN(where),
    KNOWN(resize_linear),
    KNOWN(lstm),
    KNOWN(quantize),
    KNOWN(dequantize),
    KNOWN(qbinary),
    KNOWN(dynamic_quantize),
    KNOWN(lookup),
    KNOWN(qmean),
    KNOWN(qsoftmax),
    KNOWN(qgemm),
    KNOWN(qdepthwise_conv2d),
    KNOWN(gemm_nbits),
    KNOWN(qconv2d),
};

int lt_op_reach(int64_t op, const void *args, lt_reach reach[LT_MAX_SLOTS]) {
  finding f = {.reach = reach};
  memset(reach, 0, LT_MAX_SLOTS * sizeof *reach);
  if (op < 0 || op >= OP_COUNT || !known[op]) return LT_BAD_VARIANT;
  known[op](&f, args);
  return f.bad ? LT_BAD_ARGUMENT : LT_OK;
}
