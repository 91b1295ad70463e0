/* Sums and products of quantised tensors over tiles of a nest; y is contiguous. */
#include "quant/qbinary.h"
#include "quant/requant.h"
#include "quant/sum.h"

/* How an operand moves along a row. */
enum { UNIT, SPLAT, STRIDED };

typedef struct {
  const uint8_t *at;
  int64_t stride;
  vi splat; /* its value if it does not move */
} qbinary_operand;

/* n <= LT_VL values from element i on. */
LT_INLINE vi qbinary_load(const qbinary_operand *v, int64_t i, int64_t n, int kind, int is_signed) {
  if (kind == UNIT) return vi_load_bytes(v->at + i, is_signed, n);
  if (kind == SPLAT) return v->splat;
  uint8_t lane[LT_VL] = {0};
  for (int64_t k = 0; k < n; k++) lane[k] = v->at[(i + k) * v->stride];
  return vi_load_bytes(lane, is_signed, LT_VL);
}

/* n <= LT_VL results from element i on. */
LT_INLINE vi qbinary_at(const lt_qbinary_job *job, const qbinary_operand *a, const qbinary_operand *b, int64_t i,
                        int64_t n, int ka, int kb, int add, int is_signed) {
  const vi p = qbinary_load(a, i, n, ka, is_signed), q = qbinary_load(b, i, n, kb, is_signed);
  const vf lo = vf_set1(job->lo), hi = vf_set1(job->hi), ratio = vf_set1(job->a_ratio), offset = vf_set1(job->offset);
  if (add) return vi_quantised_add(p, ratio, q, vf_set1(job->b_ratio), offset, lo, hi);
  const vi product = vi_mul(vi_sub(p, vi_set1(job->a_zero)), vi_sub(q, vi_set1(job->b_zero)));
  const vf v = vf_add(vf_mul(vf_from_vi(product), ratio), offset);
  return vi_from_vf(vf_min(hi, vf_max(lo, v)));
}

/* The kinds, `add` and `is_signed` are constants wherever this is inlined. */
LT_INLINE void qbinary_tile(const lt_qbinary_job *job, const lt_patch *tile, int ka, int kb, int add, int is_signed) {
  const lt_nest *nest = &job->nest;
  const int r = nest->rank - 2, c = nest->rank - 1;
  const int64_t cols = tile->cols;
  for (int64_t row = 0; row < tile->rows; row++) {
    qbinary_operand a = {.at = job->a + tile->offset[LT_QBINARY_A] + row * nest->stride[LT_QBINARY_A][r],
                         .stride = nest->stride[LT_QBINARY_A][c]};
    qbinary_operand b = {.at = job->b + tile->offset[LT_QBINARY_B] + row * nest->stride[LT_QBINARY_B][r],
                         .stride = nest->stride[LT_QBINARY_B][c]};
    a.splat = vi_set1(is_signed ? *(const int8_t *)a.at : *a.at);
    b.splat = vi_set1(is_signed ? *(const int8_t *)b.at : *b.at);
    uint8_t *y = job->y + tile->offset[LT_QBINARY_Y] + row * cols;
    int64_t i = 0;
    for (; i + 4 * LT_VL <= cols; i += 4 * LT_VL) {
      vi v[4];
#pragma GCC unroll 4
      for (int k = 0; k < 4; k++) v[k] = qbinary_at(job, &a, &b, i + k * LT_VL, LT_VL, ka, kb, add, is_signed);
      vi_store_bytes4(y + i, v);
    }
    for (; i < cols; i += LT_VL) {
      const int64_t n = cols - i < LT_VL ? cols - i : LT_VL;
      vi_store_bytes(y + i, qbinary_at(job, &a, &b, i, n, ka, kb, add, is_signed), n);
    }
  }
}

LT_INLINE void qbinary_kind(const lt_qbinary_job *job, const lt_patch *tile, int add, int is_signed) {
  const int c = job->nest.rank - 1;
  const int64_t sa = job->nest.stride[LT_QBINARY_A][c], sb = job->nest.stride[LT_QBINARY_B][c];
  if (sa == 1 && sb == 1)
    qbinary_tile(job, tile, UNIT, UNIT, add, is_signed);
  else if (sa == 1 && sb == 0)
    qbinary_tile(job, tile, UNIT, SPLAT, add, is_signed);
  else if (sa == 0 && sb == 1)
    qbinary_tile(job, tile, SPLAT, UNIT, add, is_signed);
  else
    qbinary_tile(job, tile, STRIDED, STRIDED, add, is_signed);
}

void LT_FN(lt_qbinary)(void *context, int64_t begin, int64_t end) {
  const lt_qbinary_job *job = context;
  while (begin < end) {
    const lt_patch tile = lt_nest_patch(&job->nest, begin, end);
    if (job->add && job->is_signed)
      qbinary_kind(job, &tile, 1, 1);
    else if (job->add)
      qbinary_kind(job, &tile, 1, 0);
    else if (job->is_signed)
      qbinary_kind(job, &tile, 0, 1);
    else
      qbinary_kind(job, &tile, 0, 0);
    begin += tile.rows * tile.cols;
  }
}

LT_INLINE vi qsum_at(const uint8_t *a, const uint8_t *b, int64_t n, vi flip, const lt_qsum *s) {
  const vi p = vi_sub(vi_xor(vi_load_bytes(a, 0, n), flip), flip);
  const vi q = vi_sub(vi_xor(vi_load_bytes(b, 0, n), flip), flip);
  return vi_quantised_add(p, vf_set1(s->a_ratio), q, vf_set1(s->b_ratio), vf_set1(s->offset), vf_set1(s->lo),
                          vf_set1(s->hi));
}

void LT_FN(lt_qsum_row)(const lt_qsum *s, const uint8_t *a, const uint8_t *b, uint8_t *y, int64_t n) {
  const vi flip = vi_set1(s->is_signed ? 0x80 : 0);
  int64_t i = 0;
  for (; i + 4 * LT_VL <= n; i += 4 * LT_VL) {
    vi v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) v[k] = qsum_at(a + i + k * LT_VL, b + i + k * LT_VL, LT_VL, flip, s);
    vi_store_bytes4(y + i, v);
  }
  for (; i < n; i += LT_VL) {
    const int64_t lanes = n - i < LT_VL ? n - i : LT_VL;
    vi_store_bytes(y + i, qsum_at(a + i, b + i, lanes, flip, s), lanes);
  }
}
