/* The operator qgemm. */
#include "qgemm.h"

#include <stddef.h>
#include <string.h>

#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"
#include "types.h"

typedef struct {
  const lt_qgemm_args *g;
  lt_qrhs rhs;
  int64_t m_blocks, n_blocks, nc; /* blocks of one matrix; nc is a multiple of the panel */
  int64_t threads;
  int64_t rhs_bytes;  /* room for a packed right-hand side */
  int64_t rhs_count;  /* as many of them: one per thread when batched, else one */
  int64_t ld_rows;    /* bytes between copied rows of A; 0 if they are read in place */
  int64_t copy_bytes; /* per-thread room for them, which follows */
} qgemm_job;

/* A plain right-hand side of several matrices is packed by the thread that needs it; a single one is packed by all. */
static int rhs_per_thread(const lt_qgemm_args *g) { return !g->w_packed && g->batch > 1; }

/* Whether no size is negative and no index overflows. */
static int sizes_fit(const lt_qgemm_args *g) {
  const int64_t batch = max64(1, g->batch), m = max64(1, g->m);
  return g->mc > 0 && g->nc > 0 && g->threads > 0 && g->ldy >= g->n && g->batch >= 0 && g->m >= 0 && LT_FITS(g->mc) &&
         LT_FITS(g->nc) && LT_FITS(max64(1, g->k), g->n, 2) && LT_FITS(batch, m, g->k) && LT_FITS(m, g->lda) &&
         LT_FITS(m, g->ldy) && LT_FITS(m, g->ldr) && LT_FITS(batch, g->stride_a) && LT_FITS(batch, g->stride_w) &&
         LT_FITS(batch, g->stride_y) && LT_FITS(batch, g->stride_r) && LT_FITS(batch, m, g->n);
}

static int qgemm_plan(const lt_qgemm_args *g, qgemm_job *job) {
  if (!sizes_fit(g)) return LT_BAD_ARGUMENT;
  if (!g->w_packed && !lt_is_byte(g->w_type)) return LT_BAD_ARGUMENT;
  job->g = g;
  int status = LT_QRHS_PREPARE(&job->rhs, g);
  if (status) return status;
  const lt_qformat *format = job->rhs.format;
  /* Bytes cannot hold what a zero point may leave; a plain w of them is taken as it is. */
  if (!g->w_packed && format->size == 1 && (g->w_type != LT_I8 || g->w_zero)) return LT_BAD_VARIANT;
  job->rhs.n = g->n;
  job->rhs.nseg = 1;
  job->rhs.run = g->k;
  job->nc = round_up(min64(g->nc, g->n), g->nv * format->lanes);
  job->m_blocks = ceil_div(g->m, g->mc);
  job->n_blocks = g->n ? ceil_div(g->n, job->nc) : 0;
  job->threads = min64(g->threads, LT_MAX_THREADS);
  job->rhs_bytes = g->w_packed ? 0 : round_up(lt_qpacked_size(format, 1, g->k, g->n), 64);
  job->rhs_count = rhs_per_thread(g) ? job->threads : 1;
  /* An odd number of cache lines, so that rows do not collide in L1. */
  job->ld_rows = g->pack_a || format->size == 2 ? (lt_qrow_bytes(format, g->k) / 64 | 1) * 64 + 64 : 0;
  job->copy_bytes = min64(g->mc, g->m) * job->ld_rows;
  return LT_OK;
}

int64_t lt_qgemm_work(const void *args) {
  const lt_qgemm_args *g = args;
  qgemm_job job;
  if (qgemm_plan(g, &job)) return 0;
  return job.rhs_bytes * job.rhs_count + job.copy_bytes * job.threads;
}

static void one_block(const qgemm_job *job, const lt_qrhs *rhs, int64_t b, int64_t mb, int64_t nb, int thread) {
  const lt_qgemm_args *g = job->g;
  const int64_t m0 = mb * g->mc, n0 = nb * job->nc, n1 = min64(g->n, n0 + job->nc);
  const int64_t size = lt_qsize(g->y_type);
  const uint8_t *a = (const uint8_t *)g->a + b * g->stride_a + m0 * g->lda;
  lt_qrows rows = {.seg = &a, .lda = g->lda, .rows = min64(g->mc, g->m - m0), .ldc = g->ldy, .ldr = g->ldr};
  rows.c = (uint8_t *)g->y + (b * g->stride_y + m0 * g->ldy) * size;
  rows.residual = g->residual ? (const uint8_t *)g->residual + b * g->stride_r + m0 * g->ldr : 0;
  if (job->ld_rows) {
    uint8_t *copy = (uint8_t *)g->work + job->rhs_bytes * job->rhs_count + thread * job->copy_bytes;
    for (int64_t r = 0; r < rows.rows; r++)
      lt_qcopy_row(rhs->format, g->a_type, copy + r * job->ld_rows, a + r * g->lda, g->k);
    a = copy;
    rows.lda = job->ld_rows;
    rows.padded = 1;
  }
  lt_qgemm_block(rhs, &rows, n0, n1);
}

static void block_task(void *context, int64_t index, int thread) {
  const qgemm_job *job = context;
  const lt_qgemm_args *g = job->g;
  const int64_t per = job->m_blocks * job->n_blocks, b = index / per, i = index % per;
  lt_qrhs rhs = job->rhs;
  rhs.w = g->w_packed ? (const uint8_t *)g->w + b * g->stride_w : (const uint8_t *)g->work;
  if (g->split_n) {
    one_block(job, &rhs, b, i % job->m_blocks, i / job->m_blocks, thread);
  } else {
    one_block(job, &rhs, b, i / job->n_blocks, i % job->n_blocks, thread);
  }
}

/* Pack one panel of a plain matrix of bytes, less the zero point of each column. */
static void pack_panel(const qgemm_job *job, uint8_t *dst, const uint8_t *w, int64_t panel) {
  const lt_qgemm_args *g = job->g;
  const lt_qformat *f = job->rhs.format;
  const int64_t nr = g->nv * f->lanes, n0 = panel * nr, cols = min64(nr, g->n - n0), width = round_up(cols, f->lanes);
  dst += lt_qpacked_size(f, 1, g->k, n0);
  int32_t *sums = (int32_t *)dst;
  dst += 4 * width;
  const int64_t groups = ceil_div(g->k, f->group), vector = f->lanes * f->group; /* elements of a vector's group */
  memset(dst, 0, (size_t)(groups * width * f->group * f->size));
  for (int64_t j = 0; j < width; j++) {
    int64_t sum = 0;
    if (j < cols) {
      const uint8_t *zeros = g->w_zero, *zero = zeros ? zeros + (n0 + j) * g->w_zero_ns : 0;
      const int sign = g->w_type == LT_I8;
      const int32_t z = !zero ? 0 : sign ? (int8_t)*zero : *zero;
      const int64_t start = j / f->lanes * vector + j % f->lanes * f->inner;
      for (int64_t k = 0; k < g->k; k++) {
        const uint8_t bits = w[k * g->w_ks + (n0 + j) * g->w_ns];
        const int32_t value = (sign ? (int8_t)bits : bits) - z;
        const int64_t inside = k % f->group / f->inner * (f->lanes * f->inner) + k % f->inner;
        const int64_t at = start + k / f->group * (width * f->group) + inside;
        if (f->size == 1) {
          ((int8_t *)dst)[at] = (int8_t)value;
        } else {
          ((int16_t *)dst)[at] = (int16_t)value;
        }
        sum += value;
      }
    }
    sums[j] = (int32_t)sum;
  }
}

static void batch_task(void *context, int64_t b, int thread) {
  const qgemm_job *job = context;
  const lt_qgemm_args *g = job->g;
  const int64_t panels = ceil_div(g->n, g->nv * job->rhs.format->lanes);
  uint8_t *w = (uint8_t *)g->work + thread * job->rhs_bytes;
  for (int64_t p = 0; p < panels; p++) pack_panel(job, w, (const uint8_t *)g->w + b * g->stride_w, p);
  lt_qrhs rhs = job->rhs;
  rhs.w = w;
  for (int64_t mb = 0; mb < job->m_blocks; mb++)
    for (int64_t nb = 0; nb < job->n_blocks; nb++) one_block(job, &rhs, b, mb, nb, thread);
}

static void pack_task(void *context, int64_t panel, int thread) {
  (void)thread;
  const qgemm_job *job = context;
  pack_panel(job, job->g->work, job->g->w, panel);
}

int lt_qgemm_run(const void *args) {
  const lt_qgemm_args *g = args;
  qgemm_job job;
  int status = qgemm_plan(g, &job);
  if (!status) status = lt_qrhs_check(&job.rhs);
  if (status) return status;
  if (g->batch == 0 || g->m == 0 || g->n == 0) return LT_OK;
  if (!g->a || !g->w || !g->y) return LT_BAD_ARGUMENT;
  if (!g->work && lt_qgemm_work(g) > 0) return LT_NO_WORKSPACE;
  if (rhs_per_thread(g)) {
    lt_parallel_for(job.threads, g->batch, batch_task, &job);
    return LT_OK;
  }
  if (!g->w_packed) lt_parallel_for(job.threads, ceil_div(g->n, g->nv * job.rhs.format->lanes), pack_task, &job);
  lt_parallel_for(job.threads, g->batch * job.m_blocks * job.n_blocks, block_task, &job);
  return LT_OK;
}
