/* Reductions: over contiguous rows, and over the columns of a matrix. Sums are float within a block of 16 per
 * accumulator and double across blocks; products are double throughout. */
#include "eltwise/reduce.h"
#include "eltwise/sum.h"

/* Rows of a column reduction that are summed in float. */
#define COLUMN_BLOCK 16

/* Which sum an operation is made of. */
LT_INLINE int64_t sum_kind(int64_t op) {
  if (op == LT_REDUCE_L1) return SUM_OF_ABS;
  return op == LT_REDUCE_L2 || op == LT_REDUCE_SUM_SQUARE ? SUM_OF_SQUARES : SUM_OF_X;
}

LT_INLINE float finish(double total, int64_t op, int64_t count) {
  if (op == LT_REDUCE_MEAN) return (float)(total / (double)count);
  return (float)(op == LT_REDUCE_L2 ? sqrt(total) : total);
}

LT_INLINE vf extreme(vf a, vf b, int64_t op) { return op == LT_REDUCE_MAX ? vf_nanmax(a, b) : vf_nanmin(a, b); }

LT_INLINE int is_extreme(int64_t op) { return op == LT_REDUCE_MAX || op == LT_REDUCE_MIN; }

LT_INLINE float nothing(int64_t op) { return op == LT_REDUCE_MAX ? -INFINITY : INFINITY; }

LT_INLINE float row_extreme(const float *x, int64_t n, int64_t op) {
  vf m = vf_set1(nothing(op)), m1 = m;
  int64_t i = 0;
  for (; i + 2 * LT_VL <= n; i += 2 * LT_VL) {
    m = extreme(m, vf_load(x + i), op);
    m1 = extreme(m1, vf_load(x + i + LT_VL), op);
  }
  float lane[LT_VL], best = nothing(op);
  vf_store(lane, extreme(m, m1, op));
  for (int k = 0; k < LT_VL; k++)
    if (!(op == LT_REDUCE_MAX ? lane[k] <= best : lane[k] >= best) && best == best) best = lane[k];
  for (; i < n; i++)
    if (!(op == LT_REDUCE_MAX ? x[i] <= best : x[i] >= best) && best == best) best = x[i];
  return best;
}

LT_INLINE float reduce_row(const float *x, int64_t n, int64_t op) {
  if (is_extreme(op)) return row_extreme(x, n, op);
  double total = op == LT_REDUCE_PROD;
  if (op == LT_REDUCE_PROD)
    for (int64_t i = 0; i < n; i++) total *= x[i];
  else
    for (int64_t i = 0; i < n; i += SUM_BLOCK)
      total += block_sum(x + i, n - i < SUM_BLOCK ? n - i : SUM_BLOCK, sum_kind(op), 0);
  return finish(total, op, n);
}

/* Fold rows [0, rows) of `width` <= LT_VL columns into one vector. */
LT_INLINE vf fold_rows(const float *x, int64_t rows, int64_t pitch, int64_t width, int64_t op) {
  vf v = is_extreme(op) ? vf_set1(nothing(op)) : vf_zero();
  for (int64_t r = 0; r < rows; r++) {
    vf row = vf_load_n(x + r * pitch, width);
    v = is_extreme(op) ? extreme(v, row, op) : vf_add(v, summand(row, vf_zero(), sum_kind(op)));
  }
  return v;
}

LT_INLINE void reduce_strip(const float *x, float *y, int64_t count, int64_t pitch, int64_t width, int64_t op) {
  double total[LT_REDUCE_STRIP];
  float part[LT_REDUCE_STRIP];
  for (int64_t c = 0; c < width; c++) total[c] = op == LT_REDUCE_PROD;
  if (op == LT_REDUCE_PROD) {
    for (int64_t r = 0; r < count; r++)
      for (int64_t c = 0; c < width; c++) total[c] *= x[r * pitch + c];
  } else {
    for (int64_t r = 0; r < count; r += COLUMN_BLOCK) {
      const int64_t rows = count - r < COLUMN_BLOCK ? count - r : COLUMN_BLOCK;
      const float *block = x + r * pitch;
      int64_t c = 0;
      for (; c + LT_VL <= width; c += LT_VL) vf_store(part + c, fold_rows(block + c, rows, pitch, LT_VL, op));
      if (c < width) vf_store_n(part + c, fold_rows(block + c, rows, pitch, width - c, op), width - c);
      for (c = 0; c < width; c++) total[c] += part[c];
    }
  }
  for (int64_t c = 0; c < width; c++) y[c] = finish(total[c], op, count);
}

LT_INLINE void extreme_strip(const float *x, float *y, int64_t count, int64_t pitch, int64_t width, int64_t op) {
  int64_t c = 0;
  for (; c + LT_VL <= width; c += LT_VL) vf_store(y + c, fold_rows(x + c, count, pitch, LT_VL, op));
  if (c < width) vf_store_n(y + c, fold_rows(x + c, count, pitch, width - c, op), width - c);
}

#define CASES(CASE)    \
  CASE(LT_REDUCE_SUM)  \
  CASE(LT_REDUCE_MEAN) \
  CASE(LT_REDUCE_MAX)  \
  CASE(LT_REDUCE_MIN)  \
  CASE(LT_REDUCE_PROD) \
  CASE(LT_REDUCE_L1)   \
  CASE(LT_REDUCE_L2)   \
  CASE(LT_REDUCE_SUM_SQUARE)

void LT_FN(lt_reduce_rows)(void *context, int64_t begin, int64_t end) {
  const lt_reduce_args *args = context;
  for (int64_t row = begin; row < end; row++) {
    const float *x = (const float *)args->x + row * args->count;
    float *y = (float *)args->y + row;
    switch (args->op) {
#define ROW(op) \
  case op: *y = reduce_row(x, args->count, op); break;
      CASES(ROW)
#undef ROW
    }
  }
}

void LT_FN(lt_reduce_columns)(void *context, int64_t begin, int64_t end) {
  const lt_reduce_args *args = context;
  const int64_t strips = lt_reduce_strips(args->inner);
  for (int64_t unit = begin; unit < end; unit++) {
    const int64_t outer = unit / strips, first = unit % strips * LT_REDUCE_STRIP, left = args->inner - first;
    const int64_t width = left < LT_REDUCE_STRIP ? left : LT_REDUCE_STRIP;
    const float *x = (const float *)args->x + outer * args->count * args->inner + first;
    float *y = (float *)args->y + outer * args->inner + first;
    switch (args->op) {
#define STRIP(op)                                               \
  case op:                                                      \
    if (is_extreme(op))                                         \
      extreme_strip(x, y, args->count, args->inner, width, op); \
    else                                                        \
      reduce_strip(x, y, args->count, args->inner, width, op);  \
    break;
      CASES(STRIP)
#undef STRIP
    }
  }
}
#undef CASES
