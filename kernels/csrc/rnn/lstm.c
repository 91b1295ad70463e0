/* The recurrent half of an LSTM; the product with the input is a GEMM over all steps at once. */
#include "rnn/lstm.h"

#include <string.h>

#include "cpu/num.h"
#include "cpu/threads.h"
#include "gemm/gemm.h"

LT_PARTS(lt_lstm_cells);

/* Multiply-adds of one step that are worth a second thread. */
#define SHARED_STEP (1 << 18)

typedef struct {
  const lt_rhs *rhs;
  lt_rows rows;
  int64_t columns; /* of one task, a multiple of the panel */
} product;

static int is_valid(const lt_lstm_args *a) {
  return a->steps >= 0 && a->batch >= 0 && a->hidden > 0 && a->threads > 0 && a->ku > 0 &&
         LT_FITS(max64(1, a->batch), a->ldy) && a->ldy >= a->batch * a->hidden && LT_FITS(max64(1, a->steps), a->ldy) &&
         LT_FITS(max64(1, a->steps), max64(1, a->batch), 4, a->hidden) && LT_FITS(a->hidden, a->hidden, 4) &&
         LT_FITS(a->prefetch);
}

int64_t lt_lstm_work(const void *args) {
  const lt_lstm_args *a = args;
  return is_valid(a) ? a->batch * 4 * a->hidden * (int64_t)sizeof(float) : 0;
}

static void product_task(void *context, int64_t index, int thread) {
  (void)thread;
  const product *p = context;
  const int64_t n0 = index * p->columns;
  lt_gemm_block(p->rhs, &p->rows, n0, min64(p->rhs->n, n0 + p->columns), 0, p->rhs->k);
}

int lt_lstm_run(const void *args) {
  const lt_lstm_args *a = args;
  if (!is_valid(a)) return LT_BAD_ARGUMENT;
  lt_rhs rhs = {.isa = a->isa,
                .mr = a->mr,
                .nv = a->nv,
                .ku = a->ku,
                .prefetch = a->prefetch,
                .n = 4 * a->hidden,
                .k = a->hidden,
                .w = a->w,
                .act = LT_ACT_NONE};
  int status = lt_rhs_prepare(&rhs);
  if (!status) status = rhs.half ? LT_BAD_VARIANT : lt_rhs_check(&rhs);
  if (status) return status;
  if (a->batch == 0) return LT_OK;
  if (!a->x || !a->w || !a->y || !a->h || !a->c) return LT_BAD_ARGUMENT;
  if (!a->work) return LT_NO_WORKSPACE;

  const int64_t state = a->batch * a->hidden, gates = 4 * state, panel = rhs.nv * rhs.lanes;
  const int64_t threads = state * rhs.n < SHARED_STEP ? 1 : a->threads;
  product p = {.rhs = &rhs, .columns = round_up(ceil_div(rhs.n, threads), panel)};
  p.rows = (lt_rows){.lda = a->hidden, .rows = a->batch, .c = a->work, .ldc = rhs.n, .ldr = rhs.n};
  lt_lstm_step step = {.batch = a->batch, .hidden = a->hidden, .c = a->c};
  const float *h = a->h0;
  if (a->c0) {
    memmove(a->c, a->c0, (size_t)state * sizeof(float));
  } else {
    memset(a->c, 0, (size_t)state * sizeof(float));
  }
  for (int64_t i = 0; i < a->steps; i++) {
    const int64_t t = a->reverse ? a->steps - 1 - i : i;
    const float *x = (const float *)a->x + t * gates;
    step.gates = x;
    if (h) {
      p.rows.a = h;
      p.rows.residual = x;
      lt_parallel_for(threads, ceil_div(rhs.n, p.columns), product_task, &p);
      step.gates = a->work;
    }
    step.h = (float *)a->y + t * a->ldy;
    lt_split(a->threads, a->batch, 32 * a->hidden, lt_lstm_cells_parts[a->isa], &step);
    h = step.h;
  }
  if (h) {
    memmove(a->h, h, (size_t)state * sizeof(float));
  } else {
    memset(a->h, 0, (size_t)state * sizeof(float));
  }
  return LT_OK;
}
