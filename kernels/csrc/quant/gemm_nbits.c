/* The operator gemm_nbits. Few rows meet weights that are unpacked in registers: each byte of them is read once, and
 * nothing but memory limits a single row. For many rows, a strip of weights is unpacked into scratch for a block of
 * rows and the tiles of gemm do the rest. Either way rows are copied first: filled up to whole words, and to distances
 * that do not collide in L1. */
#include <string.h>

#include "cpu/num.h"
#include "cpu/split.h"
#include "cpu/threads.h"
#include "gemm/gemm.h"
#include "quant/nbits.h"

#define FEW_ROWS 24 /* beyond them, unpacking into scratch is cheaper than unpacking for every tile */
#define STRIP 32    /* columns unpacked at once */
#define DEPTH 256   /* k unpacked at once: a strip fits L1 or L2 */
#define BLOCK 128   /* rows for which a strip is unpacked */

static const lt_nbits_kernels *const kernels[LT_ISA_COUNT] = {
    &lt_nbits_scalar,
    LT_IF_AVX2(&lt_nbits_avx2),
    LT_IF_AVX512(&lt_nbits_avx512),
    LT_IF_NEON(&lt_nbits_neon),
};

/* Register tiles of gemm; strips are whole panels of theirs. */
static const struct {
  int64_t mr, nv, ku;
} tiles[LT_ISA_COUNT] = {{6, 2, 1}, {6, 2, 4}, {14, 2, 4}, {8, 2, 1}};

typedef struct {
  const lt_gemm_nbits_args *g;
  int64_t k, ld, blocks; /* whole words; floats between copied rows; blocks of K */
  float *rows, *sums, *room;
  lt_rhs rhs; /* of gemm */
} job;

static int is_valid(const lt_gemm_nbits_args *g) {
  const int64_t m = max64(1, g->m), n = max64(1, g->n), k = max64(1, g->k);
  return g->m >= 0 && g->n >= 0 && g->k >= 0 && g->threads > 0 && g->block >= LT_NBITS_K &&
         g->block % LT_NBITS_K == 0 && LT_FITS(g->block) && LT_FITS(n, k, 4) && LT_FITS(m, k, 4) &&
         LT_FITS(m, g->lda) && LT_FITS(m, g->ldy) && g->lda >= g->k && g->ldy >= g->n;
}

static job plan(const lt_gemm_nbits_args *g) {
  job j = {.g = g, .k = round_up(g->k, LT_NBITS_K), .blocks = ceil_div(g->k, g->block)};
  j.ld = odd_lines(j.k);
  j.rows = g->work;
  if (g->work) j.room = j.sums = j.rows + g->m * j.ld;
  return j;
}

static int64_t threads_of(const lt_gemm_nbits_args *g) { return min64(g->threads, LT_MAX_THREADS); }

int64_t lt_gemm_nbits_work(const void *args) {
  const lt_gemm_nbits_args *g = args;
  if (!is_valid(g)) return 0;
  const job j = plan(g);
  const int64_t rest = g->m <= FEW_ROWS ? g->m * j.blocks : threads_of(g) * STRIP * DEPTH;
  return (g->m * j.ld + rest) * (int64_t)sizeof(float);
}

/* Copies of rows, and sums over their blocks where few rows and zeros want them. */
static void copy_part(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  const lt_gemm_nbits_args *g = j->g;
  for (int64_t m = begin; m < end; m++) {
    float *row = j->rows + m * j->ld;
    memcpy(row, (const float *)g->a + m * g->lda, (size_t)g->k * sizeof *row);
    for (int64_t i = g->k; i < j->k; i++) row[i] = 0.0f;
    if (g->zero && g->m <= FEW_ROWS)
      for (int64_t b = 0; b < j->blocks; b++)
        j->sums[m * j->blocks + b] = kernels[g->isa]->sum(row + b * g->block, min64(g->block, j->k - b * g->block));
  }
}

static lt_nbits_panel panel_of(const job *j, int64_t panel) {
  const lt_gemm_nbits_args *g = j->g;
  const int64_t scales = panel * j->blocks * LT_NBITS_COLS;
  return (lt_nbits_panel){.w = (const uint32_t *)g->w + panel * (j->k / LT_NBITS_K) * LT_NBITS_COLS,
                          .scale = (const float *)g->scale + scales,
                          .zero = g->zero ? (const float *)g->zero + scales : 0,
                          .k = j->k,
                          .block = g->block};
}

static void few_part(void *context, int64_t begin, int64_t end) {
  const job *j = context;
  const lt_gemm_nbits_args *g = j->g;
  for (int64_t panel = begin; panel < end; panel++) {
    const int64_t n = panel * LT_NBITS_COLS;
    lt_nbits_tile t = {.panel = panel_of(j, panel),
                       .lda = j->ld,
                       .bias = g->bias ? (const float *)g->bias + n : 0,
                       .ldc = g->ldy,
                       .cols = min64(LT_NBITS_COLS, g->n - n)};
    for (int64_t m = 0, count; m < g->m; m += count) {
      count = min64(LT_NBITS_MAX_ROWS, g->m - m);
      t.a = j->rows + m * j->ld;
      t.sums = j->sums + m * j->blocks;
      t.c = (float *)g->y + m * g->ldy + n;
      kernels[g->isa]->tile[count - 1](&t);
    }
  }
}

/* The strip from column n on for k in [k0, k1), as packed panels of gemm. */
static void unpack_strip(const job *j, int64_t n, int64_t cols, int64_t k0, int64_t k1, float *room) {
  const int64_t lanes = j->rhs.lanes, width = j->rhs.nv * lanes;
  for (int64_t c = 0; c < cols; c += lanes) {
    const lt_nbits_panel panel = panel_of(j, (n + c) / LT_NBITS_COLS);
    const int64_t first = c / width * width, stride = min64(width, round_up(cols - first, lanes));
    kernels[j->g->isa]->unpack(&panel, (n + c) % LT_NBITS_COLS, k0, k1, room + first * (k1 - k0) + c - first, stride);
  }
}

static void strip_task(void *context, int64_t index, int thread) {
  const job *j = context;
  const lt_gemm_nbits_args *g = j->g;
  const int64_t strips = ceil_div(g->n, STRIP), m0 = index / strips * BLOCK, n = index % strips * STRIP;
  float *room = j->room + thread * (STRIP * DEPTH);
  lt_rhs rhs = j->rhs;
  rhs.w = room;
  rhs.n = min64(STRIP, g->n - n);
  lt_rows rows = {.lda = j->ld, .rows = min64(BLOCK, g->m - m0), .ldc = g->ldy, .ldf = g->ldy};
  rows.c = (float *)g->y + m0 * g->ldy + n;
  int64_t k = 0;
  do { /* once even for k = 0: the bias still counts */
    rhs.k = min64(DEPTH, j->k - k);
    rhs.bias = g->bias && k + rhs.k == j->k ? (const float *)g->bias + n : 0;
    unpack_strip(j, n, rhs.n, k, k + rhs.k, room);
    rows.a = j->rows + m0 * j->ld + k;
    rows.from = k ? rows.c : 0;
    lt_gemm_block(&rhs, &rows, 0, rhs.n, 0, rhs.k);
    k += rhs.k;
  } while (k < j->k);
}

int lt_gemm_nbits_run(const void *args) {
  const lt_gemm_nbits_args *g = args;
  if (!is_valid(g)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(g->isa)) return LT_BAD_VARIANT;
  if (g->m == 0 || g->n == 0) return LT_OK;
  if (!g->a || !g->w || !g->scale || !g->y) return LT_BAD_ARGUMENT;
  if (!g->work) return LT_NO_WORKSPACE;
  job j = plan(g);
  lt_split(g->threads, g->m, j.k, copy_part, &j);
  if (g->m <= FEW_ROWS) {
    lt_split(g->threads, ceil_div(g->n, LT_NBITS_COLS), g->m * j.k, few_part, &j);
    return LT_OK;
  }
  j.rhs = (lt_rhs){.isa = g->isa, .mr = tiles[g->isa].mr, .nv = tiles[g->isa].nv, .ku = tiles[g->isa].ku};
  const int status = lt_rhs_prepare(&j.rhs);
  if (status) return status;
  lt_parallel_for(threads_of(g), ceil_div(g->m, BLOCK) * ceil_div(g->n, STRIP), strip_task, &j);
  return LT_OK;
}
