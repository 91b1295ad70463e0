#include "gemm.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"
#include "luthier/lt_ops.h"
#include "strassen.h"

typedef lt_gemm_fn (*kernel_lookup)(int64_t mr, int64_t nv, int64_t ku);

#define DECLARE(isa)                                                                                               \
  lt_gemm_fn lt_gemm_kernel_##isa(int64_t mr, int64_t nv, int64_t ku);                                             \
  void lt_act_rows_##isa(float *c, int64_t rows, int64_t cols, int64_t ldc, int64_t act, float alpha, float beta); \
  void lt_sum_rows_##isa(float *y, const float *a, const float *b, float sign, int64_t rows, int64_t cols,         \
                         int64_t ldy, int64_t lda, int64_t ldb);
DECLARE(scalar)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(neon)
#undef DECLARE
lt_gemm_fn lt_gemm_kernel_avx512bf16(int64_t mr, int64_t nv, int64_t ku);
lt_gemm_fn lt_gemm_kernel_neonfp16(int64_t mr, int64_t nv, int64_t ku);
lt_gemm_fn lt_gemm_kernel_neonbf16(int64_t mr, int64_t nv, int64_t ku);

static const kernel_lookup kernels[LT_ISA_ALL] = {
    [LT_ISA_SCALAR] = lt_gemm_kernel_scalar,
    [LT_ISA_AVX2] = LT_IF_AVX2(lt_gemm_kernel_avx2),
    [LT_ISA_AVX512] = LT_IF_AVX512(lt_gemm_kernel_avx512),
    [LT_ISA_NEON] = LT_IF_NEON(lt_gemm_kernel_neon),
    [LT_ISA_AVX512BF16] = LT_IF_AVX512BF16(lt_gemm_kernel_avx512bf16),
    [LT_ISA_NEONFP16] = LT_IF_NEONFP16(lt_gemm_kernel_neonfp16),
    [LT_ISA_NEONBF16] = LT_IF_NEONBF16(lt_gemm_kernel_neonbf16),
};
static const lt_act_fn acts[LT_ISA_COUNT] = LT_ISA_TABLE(lt_act_rows);

static const lt_sum_fn sums[LT_ISA_COUNT] = LT_ISA_TABLE(lt_sum_rows);

lt_sum_fn lt_sum_rows(int64_t isa) { return sums[isa]; }

lt_gemm_fn lt_gemm_kernel(int64_t isa, int64_t mr, int64_t nv, int64_t ku) {
  return lt_isa_available(isa) || lt_half_isa_available(isa) ? kernels[isa](mr, nv, ku) : 0;
}

int lt_epilogue_prepare(lt_epilogue *epilogue, int64_t isa, int64_t act, float alpha, float beta) {
  if (act < 0 || act >= LT_ACT_COUNT) return LT_BAD_ARGUMENT;
  const int in_registers = act == LT_ACT_HARD_SWISH || act == LT_ACT_SILU;
  epilogue->act = in_registers ? act : LT_ACT_CLIP;
  epilogue->lo = act == LT_ACT_RELU ? 0.0f : act == LT_ACT_CLIP ? alpha : -INFINITY;
  epilogue->hi = act == LT_ACT_CLIP ? beta : INFINITY;
  epilogue->memory = act > LT_ACT_CLIP ? acts[lt_base_isa(isa)] : 0;
  epilogue->rest = in_registers ? 0 : epilogue->memory;
  return LT_OK;
}

int lt_rhs_check(const lt_rhs *rhs) {
  return lt_gemm_kernel(rhs->isa, rhs->mr, rhs->nv, rhs->ku) ? LT_OK : LT_BAD_VARIANT;
}

int lt_rhs_prepare(lt_rhs *rhs) {
  rhs->half = lt_half_of(rhs->isa);
  if (rhs->isa < 0 || (rhs->isa >= LT_ISA_COUNT && !rhs->half) || rhs->nv < 1 || rhs->nv > LT_GEMM_MAX_NV)
    return LT_BAD_VARIANT;
  rhs->lanes = lt_isa_lanes(rhs->isa);
  return lt_epilogue_prepare(&rhs->epilogue, rhs->isa, rhs->act, rhs->alpha, rhs->beta);
}

void lt_gemm_block(const lt_rhs *rhs, const lt_rows *rows, int64_t n0, int64_t n1, int64_t k0, int64_t kc) {
  static const int64_t no_offset = 0;
  const int64_t lanes = rhs->lanes, panel = rhs->nv * lanes;
  const int64_t tiles = ceil_div(rows->rows, rhs->mr);
  const int64_t low = rows->rows / tiles, more = rows->rows % tiles; /* `more` tiles have one row more */
  const int first = rows->seg || k0 == 0, last = rows->seg || k0 + kc == rhs->k;
  lt_tile t = {.lda = rows->lda,
               .seg = rows->seg ? rows->seg : &no_offset,
               .nseg = rows->seg ? rows->nseg : 1,
               .kseg = rows->seg ? rows->kseg : kc,
               .ldc = rows->ldc,
               .cvs = lanes,
               .ldr = rows->ldr,
               .ldf = first ? rows->ldf : rows->ldc,
               .act = last ? rhs->epilogue.act : LT_ACT_CLIP,
               .lo = last ? rhs->epilogue.lo : -INFINITY,
               .hi = last ? rhs->epilogue.hi : INFINITY,
               .prefetch = rhs->prefetch};
  const lt_act_fn rest = last ? rhs->epilogue.rest : 0;
  for (int64_t n = n0; n < n1; n += panel) {
    const int64_t cols = min64(panel, rhs->n - n), nv = ceil_div(cols, lanes);
    const int in_place = rhs->ku == 0 && cols % lanes == 0;
    const int64_t ku = in_place ? 0 : max64(1, rhs->ku);
    const lt_gemm_fn low_fn = kernels[rhs->isa](low, nv, ku);
    const lt_gemm_fn more_fn = more ? kernels[rhs->isa](low + 1, nv, ku) : 0;
    t.b = in_place ? rhs->rows + k0 * rhs->ldw + n : rhs->w + (rhs->ku ? n * rhs->k : 0) + k0 * nv * lanes;
    t.ldb = rhs->ldw;
    t.tail = cols - (nv - 1) * lanes;
    t.bias = last && rhs->bias ? rhs->bias + n : 0;
    for (int64_t i = 0, r = 0; i < tiles; i++) {
      const int64_t count = low + (i < more);
      t.a = rows->a + r * rows->lda;
      t.c = rows->c + r * rows->ldc + n;
      t.from = !first ? t.c : rows->from ? rows->from + r * rows->ldf + n : 0;
      t.residual = last && rows->residual ? rows->residual + r * rows->ldr + n : 0;
      (i < more ? more_fn : low_fn)(&t);
      if (rest) rest(t.c, count, cols, rows->ldc, rhs->act, rhs->alpha, rhs->beta);
      r += count;
    }
  }
}

int64_t lt_packed_size(int64_t lanes, int64_t k, int64_t n) { return k * round_up(n, lanes); }

void lt_pack_panels(float *dst, const float *src, int64_t k, int64_t n, int64_t ks, int64_t ns, int64_t nr,
                    int64_t lanes, int64_t panel) {
  const int64_t n0 = panel * nr, cols = min64(nr, n - n0), width = round_up(cols, lanes);
  dst += n0 * k;
  src += n0 * ns;
  for (int64_t i = 0; i < k; i++, dst += width, src += ks) {
    if (ns == 1) {
      memcpy(dst, src, (size_t)cols * sizeof *dst);
    } else {
      for (int64_t j = 0; j < cols; j++) dst[j] = src[j * ns];
    }
    for (int64_t j = cols; j < width; j++) dst[j] = 0.0f;
  }
}

/* ---- the gemm operator ------------------------------------------------------------------------------------------ */

typedef struct {
  const lt_gemm_args *g;
  lt_rhs rhs;
  int64_t m_blocks, n_blocks, nc; /* blocks of one matrix; nc is a multiple of the panel */
  int64_t kc;                     /* as rhs.k, in floats or words */
  int64_t threads;
  int64_t packed_n;    /* columns to be packed, the last ones */
  int64_t rhs_floats;  /* room for them */
  int64_t rhs_count;   /* as many of them: one per thread when batched, else one */
  int64_t pack_floats; /* per-thread room for packed rows, or of strassen, which follows */
} gemm_job;

/* A plain right-hand side of several matrices is packed by the thread that needs it; a single one is packed by all. */
static int rhs_per_thread(const lt_gemm_args *g) { return !g->w_packed && g->batch > 1; }

/* Whether no size is negative and no index overflows. */
static int gemm_fits(const lt_gemm_args *g) {
  const int64_t batch = max64(1, g->batch), m = max64(1, g->m);
  return g->mc > 0 && g->nc > 0 && g->kc > 0 && g->threads > 0 && g->ldy >= g->n && g->batch >= 0 && g->m >= 0 &&
         LT_FITS(g->mc) && LT_FITS(g->nc) && LT_FITS(g->kc) && LT_FITS(g->prefetch) && LT_FITS(max64(1, g->k), g->n) &&
         LT_FITS(batch, m, g->k) && LT_FITS(m, g->lda) && LT_FITS(m, g->ldy) && LT_FITS(m, g->ldr) &&
         LT_FITS(batch, g->stride_a) && LT_FITS(batch, g->stride_w) && LT_FITS(batch, g->stride_y) &&
         LT_FITS(batch, g->stride_r) && LT_FITS(batch, m, g->n);
}

static int gemm_plan(const lt_gemm_args *g, gemm_job *job) {
  if (!gemm_fits(g)) return LT_BAD_ARGUMENT;
  job->g = g;
  job->rhs = (lt_rhs){.isa = g->isa,
                      .mr = g->mr,
                      .nv = g->nv,
                      .ku = g->ku,
                      .prefetch = g->prefetch,
                      .n = g->n,
                      .k = g->k,
                      .bias = g->bias,
                      .act = g->act,
                      .alpha = (float)g->alpha,
                      .beta = (float)g->beta};
  int status = lt_rhs_prepare(&job->rhs);
  if (status) return status;
  if (job->rhs.half) job->rhs.k = lt_half_words(job->rhs.half, g->k);
  const int64_t panel = g->nv * job->rhs.lanes;
  job->nc = round_up(min64(g->nc, g->n), panel);
  job->m_blocks = ceil_div(g->m, g->mc);
  job->n_blocks = g->n ? ceil_div(g->n, job->nc) : 0;
  job->threads = min64(g->threads, LT_MAX_THREADS);
  if (g->ku == 0) {
    if (g->w_packed || g->w_ns != 1) return LT_BAD_ARGUMENT;
    job->rhs.ldw = g->w_ks;
    job->packed_n = g->n % job->rhs.lanes ? g->n % panel : 0;
  } else {
    job->packed_n = g->w_packed ? 0 : g->n;
  }
  job->kc = job->rhs.half ? lt_half_words(job->rhs.half, min64(g->kc, max64(1, g->k))) : g->kc;
  if (job->rhs.half && (!g->pack_a || g->ku == 0 || g->strassen)) return LT_BAD_ARGUMENT;
  job->rhs_floats = lt_packed_size(job->rhs.lanes, job->rhs.k, job->packed_n);
  job->rhs_count = rhs_per_thread(g) ? job->threads : 1;
  job->pack_floats = g->pack_a ? min64(g->mc, g->m) * odd_lines(min64(job->kc, job->rhs.k)) : 0;
  if (g->strassen) {
    if (!g->w_packed || g->pack_a || g->nc < g->n || g->kc < g->k || !lt_strassen_fits(&job->rhs))
      return LT_BAD_ARGUMENT;
    job->pack_floats = lt_strassen_floats(&job->rhs, min64(g->mc, g->m));
  }
  return LT_OK;
}

int64_t lt_gemm_work(const void *args) {
  const lt_gemm_args *g = args;
  gemm_job job;
  if (gemm_plan(g, &job)) return 0;
  return (job.rhs_floats * job.rhs_count + job.pack_floats * job.threads) * (int64_t)sizeof(float);
}

static void gemm_one_block(const gemm_job *job, const lt_rhs *rhs, int64_t b, int64_t mb, int64_t nb, int thread) {
  const lt_gemm_args *g = job->g;
  const int64_t m0 = mb * g->mc, n0 = nb * job->nc, n1 = min64(g->n, n0 + job->nc);
  const float *a = (const float *)g->a + b * g->stride_a + m0 * g->lda;
  lt_rows rows = {.lda = g->lda, .rows = min64(g->mc, g->m - m0), .ldc = g->ldy, .ldr = g->ldr};
  rows.c = (float *)g->y + b * g->stride_y + m0 * g->ldy;
  rows.residual = g->residual ? (const float *)g->residual + b * g->stride_r + m0 * g->ldr : 0;
  float *packed =
      job->pack_floats ? (float *)g->work + job->rhs_floats * job->rhs_count + thread * job->pack_floats : 0;
  if (g->strassen) {
    rows.a = a;
    lt_strassen_block(rhs, &rows, packed);
    return;
  }
  int64_t k0 = 0;
  do { /* once even for k = 0: the epilogue still applies */
    const int64_t kc = min64(job->kc, rhs->k - k0);
    rows.a = a + k0;
    if (g->pack_a) {
      const int64_t ld = odd_lines(min64(job->kc, rhs->k));
      for (int64_t r = 0; r < rows.rows; r++) {
        const float *row = a + r * g->lda;
        if (rhs->half) {
          lt_half_row(rhs->isa, packed + r * ld, kc, row + 2 * k0, min64(2 * kc, g->k - 2 * k0));
        } else {
          memcpy(packed + r * ld, row + k0, (size_t)kc * sizeof *a);
        }
      }
      rows.a = packed;
      rows.lda = ld;
    }
    lt_gemm_block(rhs, &rows, n0, n1, k0, kc);
    k0 += kc;
  } while (k0 < rhs->k);
}

static void gemm_block_task(void *context, int64_t index, int thread) {
  const gemm_job *job = context;
  const int64_t per = job->m_blocks * job->n_blocks, b = index / per, i = index % per;
  lt_rhs rhs = job->rhs;
  rhs.w = job->g->w_packed ? (const float *)job->g->w + b * job->g->stride_w : (const float *)job->g->work;
  rhs.rows = (const float *)job->g->w + b * job->g->stride_w;
  if (job->g->split_n) {
    gemm_one_block(job, &rhs, b, i % job->m_blocks, i / job->m_blocks, thread);
  } else {
    gemm_one_block(job, &rhs, b, i / job->n_blocks, i % job->n_blocks, thread);
  }
}

static int64_t packed_panels(const gemm_job *job) { return ceil_div(job->packed_n, job->g->nv * job->rhs.lanes); }

static void pack_panel(const gemm_job *job, const float *w, float *packed, int64_t panel) {
  const lt_gemm_args *g = job->g;
  w += (g->n - job->packed_n) * g->w_ns;
  const int64_t lanes = job->rhs.lanes, nr = g->nv * lanes;
  if (job->rhs.half) {
    lt_half_pack_panel(job->rhs.half, packed, w, g->k, job->packed_n, g->w_ks, g->w_ns, nr, lanes, panel);
  } else {
    lt_pack_panels(packed, w, g->k, job->packed_n, g->w_ks, g->w_ns, nr, lanes, panel);
  }
}

static void gemm_batch_task(void *context, int64_t b, int thread) {
  const gemm_job *job = context;
  const lt_gemm_args *g = job->g;
  float *w = (float *)g->work + thread * job->rhs_floats;
  lt_rhs rhs = job->rhs;
  rhs.w = w;
  rhs.rows = (const float *)g->w + b * g->stride_w;
  for (int64_t p = 0; p < packed_panels(job); p++) pack_panel(job, rhs.rows, w, p);
  for (int64_t mb = 0; mb < job->m_blocks; mb++)
    for (int64_t nb = 0; nb < job->n_blocks; nb++) gemm_one_block(job, &rhs, b, mb, nb, thread);
}

static void gemm_pack_task(void *context, int64_t panel, int thread) {
  (void)thread;
  const gemm_job *job = context;
  pack_panel(job, job->g->w, job->g->work, panel);
}

int lt_gemm_run(const void *args) {
  const lt_gemm_args *g = args;
  gemm_job job;
  int status = gemm_plan(g, &job);
  if (!status) status = lt_rhs_check(&job.rhs);
  if (status) return status;
  if (g->batch == 0 || g->m == 0 || g->n == 0) return LT_OK;
  if (!g->a || !g->w || !g->y) return LT_BAD_ARGUMENT;
  if (!g->work && lt_gemm_work(g) > 0) return LT_NO_WORKSPACE;
  if (rhs_per_thread(g)) {
    lt_parallel_for(job.threads, g->batch, gemm_batch_task, &job);
    return LT_OK;
  }
  if (job.packed_n) lt_parallel_for(job.threads, packed_panels(&job), gemm_pack_task, &job);
  lt_parallel_for(job.threads, g->batch * job.m_blocks * job.n_blocks, gemm_block_task, &job);
  return LT_OK;
}
