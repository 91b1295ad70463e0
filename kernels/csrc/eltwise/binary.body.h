/* y = act(op(a, b)) over tiles of a nest; y is contiguous. */
#include "eltwise/binary.h"
#include "simd/simd_math.h"

/* How an operand moves along a row. */
enum { UNIT, SPLAT, STRIDED };

LT_INLINE vf binary_vector(vf a, vf b, int64_t op) {
  switch (op) {
    case LT_BINARY_ADD: return vf_add(a, b);
    case LT_BINARY_SUB: return vf_sub(a, b);
    case LT_BINARY_MUL: return vf_mul(a, b);
    case LT_BINARY_DIV: return vf_div(a, b);
    case LT_BINARY_MIN: return vf_nanmin(a, b);
    case LT_BINARY_MAX: return vf_nanmax(a, b);
    case LT_BINARY_SQDIFF: return vf_mul(vf_sub(a, b), vf_sub(a, b));
    default: { /* LT_BINARY_POW */
      float x[LT_VL], y[LT_VL];
      vf_store(x, a);
      vf_store(y, b);
      for (int i = 0; i < LT_VL; i++) x[i] = powf(x[i], y[i]);
      return vf_load(x);
    }
  }
}

/* n <= LT_VL elements of an operand from p; `splat` is its value if it does not move. */
LT_INLINE vf operand(const float *p, int64_t stride, vf splat, int64_t n, int kind) {
  if (kind == UNIT) return n == LT_VL ? vf_load(p) : vf_load_n(p, n);
  if (kind == SPLAT) return splat;
  float lane[LT_VL] = {0};
  for (int64_t i = 0; i < n; i++) lane[i] = p[i * stride];
  return vf_load(lane);
}

/* `op`, `act` and the kinds are constants wherever this is inlined. */
LT_INLINE void binary_tile(const lt_binary_job *job, const lt_patch *tile, int64_t op, int64_t act, int ka, int kb) {
  const lt_nest *nest = &job->nest;
  const int r = nest->rank - 2, c = nest->rank - 1;
  const int64_t sa = nest->stride[LT_BINARY_A][c], sb = nest->stride[LT_BINARY_B][c], cols = tile->cols;
  const float alpha = job->alpha, beta = job->beta;
  for (int64_t row = 0; row < tile->rows; row++) {
    const float *a = job->a + tile->offset[LT_BINARY_A] + row * nest->stride[LT_BINARY_A][r];
    const float *b = job->b + tile->offset[LT_BINARY_B] + row * nest->stride[LT_BINARY_B][r];
    float *y = (float *)job->y + tile->offset[LT_BINARY_Y] + row * cols;
    const vf a0 = vf_set1(*a), b0 = vf_set1(*b);
    int64_t i = 0;
#pragma GCC unroll 4
    for (; i + LT_VL <= cols; i += LT_VL) {
      vf v = binary_vector(operand(a + i * sa, sa, a0, LT_VL, ka), operand(b + i * sb, sb, b0, LT_VL, kb), op);
      vf_store(y + i, vf_act(v, act, alpha, beta));
    }
    if (i < cols) {
      const int64_t n = cols - i;
      vf v = binary_vector(operand(a + i * sa, sa, a0, n, ka), operand(b + i * sb, sb, b0, n, kb), op);
      vf_store_n(y + i, vf_act(v, act, alpha, beta), n);
    }
  }
}

LT_INLINE void compare_tile(const lt_binary_job *job, const lt_patch *tile, int64_t op, int ka, int kb) {
  const lt_nest *nest = &job->nest;
  const int r = nest->rank - 2, c = nest->rank - 1;
  const int64_t sa = ka == UNIT ? 1 : ka == SPLAT ? 0 : nest->stride[LT_BINARY_A][c];
  const int64_t sb = kb == UNIT ? 1 : kb == SPLAT ? 0 : nest->stride[LT_BINARY_B][c];
  const int64_t cols = tile->cols;
  for (int64_t row = 0; row < tile->rows; row++) {
    const float *restrict a = job->a + tile->offset[LT_BINARY_A] + row * nest->stride[LT_BINARY_A][r];
    const float *restrict b = job->b + tile->offset[LT_BINARY_B] + row * nest->stride[LT_BINARY_B][r];
    uint8_t *restrict y = (uint8_t *)job->y + tile->offset[LT_BINARY_Y] + row * cols;
    for (int64_t i = 0; i < cols; i++) {
      const float p = a[i * sa], q = b[i * sb];
      y[i] = op == LT_BINARY_EQUAL ? p == q : op == LT_BINARY_LESS ? p < q : p > q;
    }
  }
}

LT_INLINE void binary_kind(const lt_binary_job *job, const lt_patch *tile, int64_t op, int ka, int kb) {
  if (op >= LT_BINARY_EQUAL && op <= LT_BINARY_GREATER)
    compare_tile(job, tile, op, ka, kb);
  else if (job->act == LT_ACT_NONE)
    binary_tile(job, tile, op, LT_ACT_NONE, ka, kb);
  else
    binary_tile(job, tile, op, job->act, ka, kb);
}

LT_INLINE void binary_op(const lt_binary_job *job, const lt_patch *tile, int64_t op) {
  const int64_t sa = job->nest.stride[LT_BINARY_A][job->nest.rank - 1];
  const int64_t sb = job->nest.stride[LT_BINARY_B][job->nest.rank - 1];
  if (sa == 1 && sb == 1)
    binary_kind(job, tile, op, UNIT, UNIT);
  else if (sa == 1 && sb == 0)
    binary_kind(job, tile, op, UNIT, SPLAT);
  else if (sa == 0 && sb == 1)
    binary_kind(job, tile, op, SPLAT, UNIT);
  else
    binary_kind(job, tile, op, STRIDED, STRIDED);
}

void LT_FN(lt_binary)(void *context, int64_t begin, int64_t end) {
  const lt_binary_job *job = context;
  while (begin < end) {
    const lt_patch tile = lt_nest_patch(&job->nest, begin, end);
#define CASE(op) \
  case op: binary_op(job, &tile, op); break
    switch (job->op) {
      CASE(LT_BINARY_ADD);
      CASE(LT_BINARY_SUB);
      CASE(LT_BINARY_MUL);
      CASE(LT_BINARY_DIV);
      CASE(LT_BINARY_MIN);
      CASE(LT_BINARY_MAX);
      CASE(LT_BINARY_POW);
      CASE(LT_BINARY_SQDIFF);
      CASE(LT_BINARY_EQUAL);
      CASE(LT_BINARY_LESS);
      CASE(LT_BINARY_GREATER);
    }
#undef CASE
    begin += tile.rows * tile.cols;
  }
}
