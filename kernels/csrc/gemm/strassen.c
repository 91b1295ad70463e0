#include "strassen.h"

#include <math.h>
#include <string.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"

/* Halves of rows, K and N; distances between rows in scratch, odd numbers of cache lines. */
typedef struct {
  int64_t top, bottom, k, n, ldk, ldn;
} halves;

static halves halve(const lt_rhs *rhs, int64_t rows) {
  halves h = {.bottom = rows / 2, .k = rhs->k / 2, .n = rhs->n / 2};
  h.top = rows - h.bottom;
  h.ldk = (ceil_div(h.k, 16) | 1) * 16;
  h.ldn = (ceil_div(h.n, 16) | 1) * 16;
  return h;
}

int lt_strassen_fits(const lt_rhs *rhs) { return rhs->k > 0 && rhs->n > 0 && rhs->k % 2 == 0 && rhs->n % 2 == 0; }

int64_t lt_strassen_floats(const lt_rhs *rhs, int64_t rows) {
  const halves h = halve(rhs, rows);
  return 3 * h.top * (h.ldk + h.ldn);
}

/* The weights' parts in the order of use, W cut into quarters W11, W12, W21, W22. */
enum part {
  W11,
  T2, /* W11 - W12 + W22 */
  W21,
  T3, /* W22 - W12 */
  T4, /* W21 - T2 */
  T1, /* W12 - W11 */
  W22
};

typedef struct {
  const lt_rhs *rhs;
  const lt_rows *rows;
  halves h;
} job;

/* c = a part + from, as it is. */
static void product(const job *j, enum part part, const float *a, int64_t lda, const float *from, int64_t ldf, float *c,
                    int64_t ldc) {
  lt_rhs rhs = *j->rhs;
  rhs.k = j->h.k;
  rhs.n = j->h.n;
  rhs.w += part * lt_packed_size(rhs.lanes, rhs.k, rhs.n);
  rhs.bias = 0;
  rhs.epilogue = (lt_epilogue){.lo = -INFINITY, .hi = INFINITY};
  const lt_rows rows = {.a = a, .lda = lda, .rows = j->h.top, .c = c, .ldc = ldc, .from = from, .ldf = ldf};
  lt_gemm_block(&rhs, &rows, 0, rhs.n, 0, rhs.k);
}

/* A quarter of the result: a part + from with the epilogue; with k = 0 just from. */
static void finish(const job *j, enum part part, const float *a, int64_t lda, int64_t k, const float *from, int64_t ldf,
                   int lower, int right) {
  lt_rhs rhs = *j->rhs;
  rhs.k = k;
  rhs.n = j->h.n;
  rhs.w += part * lt_packed_size(rhs.lanes, j->h.k, rhs.n);
  const int64_t row = lower * j->h.top, column = right * rhs.n;
  if (rhs.bias) rhs.bias += column;
  const lt_rows *all = j->rows;
  const lt_rows rows = {.a = a,
                        .lda = lda,
                        .rows = lower ? j->h.bottom : j->h.top,
                        .c = all->c + row * all->ldc + column,
                        .ldc = all->ldc,
                        .residual = all->residual ? all->residual + row * all->ldr + column : 0,
                        .ldr = all->ldr,
                        .from = from,
                        .ldf = ldf};
  if (rows.rows > 0) lt_gemm_block(&rhs, &rows, 0, rhs.n, 0, k);
}

void lt_strassen_block(const lt_rhs *rhs, const lt_rows *rows, float *room) {
  const job j = {rhs, rows, halve(rhs, rows->rows)};
  const halves h = j.h;
  const lt_sum_fn sum = lt_sum_rows(rhs->isa);
  const int64_t lda = rows->lda, ldc = rows->ldc;
  const float *a11 = rows->a, *a12 = a11 + h.k, *a21 = a11 + h.top * lda, *a22 = a21 + h.k;
  float *s1 = room, *s2 = s1 + h.top * h.ldk, *s3 = s2 + h.top * h.ldk;
  float *u2 = s3 + h.top * h.ldk, *u3 = u2 + h.top * h.ldn, *p5 = u3 + h.top * h.ldn;
  float *c11 = rows->c;

  sum(s1, a21, a22, 1.0f, h.bottom, h.k, h.ldk, lda, lda);
  sum(s3, a11, a21, -1.0f, h.bottom, h.k, h.ldk, lda, lda);
  if (h.top > h.bottom) { /* the last row of the lower half is zero */
    memset(s1 + h.bottom * h.ldk, 0, (size_t)h.k * sizeof *s1);
    memcpy(s3 + h.bottom * h.ldk, a11 + h.bottom * lda, (size_t)h.k * sizeof *s3);
  }
  sum(s2, s1, a11, -1.0f, h.top, h.k, h.ldk, h.ldk, lda);

  product(&j, W11, a11, lda, 0, 0, c11, ldc);
  product(&j, T2, s2, h.ldk, c11, ldc, u2, h.ldn);
  finish(&j, W21, a12, lda, h.k, c11, ldc, 0, 0);
  product(&j, T3, s3, h.ldk, u2, h.ldn, u3, h.ldn);
  finish(&j, T4, a22, lda, h.k, u3, h.ldn, 1, 0);
  product(&j, T1, s1, h.ldk, 0, 0, p5, h.ldn);
  sum(u3, u3, p5, 1.0f, h.bottom, h.n, h.ldn, h.ldn, h.ldn);
  finish(&j, W22, s3, h.ldk, 0, u3, h.ldn, 1, 1);
  sum(u2, u2, p5, 1.0f, h.top, h.n, h.ldn, h.ldn, h.ldn);
  sum(s2, a12, s2, -1.0f, h.top, h.k, h.ldk, lda, h.ldk); /* S4 */
  finish(&j, W22, s2, h.ldk, h.k, u2, h.ldn, 0, 1);
}
