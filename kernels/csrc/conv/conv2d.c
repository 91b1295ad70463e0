/* NHWC convolution as a GEMM: rows are output pixels, columns output channels, k runs over (kh, kw, ic). */
#include "conv2d.h"

#include <stddef.h>
#include <string.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"
#include "../gemm/strassen.h"

#define MAX_TAPS 1024 /* segments of the direct algorithm, on the stack */

typedef struct {
  const lt_conv2d_args *c;
  lt_rhs rhs;
  int64_t icg, ocg;               /* channels per group */
  int64_t kc;                     /* as rhs.k, in floats or words of halves */
  int64_t icw;                    /* direct: channels of a group in these */
  int64_t pixels;                 /* rows of one block: mc output pixels, or mc rows of the image (direct) */
  int64_t m_blocks, n_blocks, nc; /* of one group */
  int64_t threads;
  int64_t ld_rows; /* im2col, and pointwise of halves: distance between packed rows */
  int64_t room;    /* these, and strassen: floats of scratch for each thread */
  int64_t pad_iw;  /* direct: width of the padded copy, 0 if the input is read in place */
  int64_t size;    /* bytes of an element of copies: of a float or a half */
} conv_job;

static int needs_padding(const lt_conv2d_args *c) {
  return c->pl > 0 || (c->ow - 1) * c->sw + (c->kw - 1) * c->dw + 1 - c->pl > c->iw;
}

/* Whether every size is positive and no index overflows. */
static int conv_fits(const lt_conv2d_args *c) {
  const int64_t positive[] = {c->ih, c->iw, c->ic, c->oh,     c->ow, c->oc, c->kh, c->kw,     c->sh,
                              c->sw, c->dh, c->dw, c->groups, c->mc, c->nc, c->kc, c->threads};
  for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
    if (positive[i] < 1 || positive[i] > INT32_MAX) return 0;
  const int64_t n = max64(1, c->n);
  return c->n >= 0 && c->pt >= 0 && c->pt <= INT32_MAX && c->pl >= 0 && c->pl <= INT32_MAX && LT_FITS(c->prefetch) &&
         LT_FITS(n, c->ih, c->iw, c->ldx) && LT_FITS(n, c->oh, c->ow, c->ldy) && LT_FITS(n, c->oh, c->ow, c->ldr) &&
         LT_FITS(c->kh, c->kw, c->ic, c->oc) && LT_FITS(c->oh, c->sh) && LT_FITS(c->ow, c->sw) &&
         LT_FITS(c->kh, c->dh) && LT_FITS(c->kw, c->dw);
}

int lt_conv2d_prepare(const lt_conv2d_args *c, lt_rhs *rhs) {
  if (!conv_fits(c) || c->ku < 1 || c->ic % c->groups || c->oc % c->groups || c->ldx < c->ic || c->ldy < c->oc)
    return LT_BAD_ARGUMENT;
  *rhs = (lt_rhs){.isa = c->isa,
                  .mr = c->mr,
                  .nv = c->nv,
                  .ku = c->ku,
                  .prefetch = c->prefetch,
                  .n = c->oc / c->groups,
                  .k = c->ic / c->groups,
                  .act = c->act,
                  .alpha = (float)c->alpha,
                  .beta = (float)c->beta};
  return lt_rhs_prepare(rhs);
}

static int is_winograd(const lt_conv2d_args *c) { return c->algo >= LT_CONV_WINOGRAD2 && c->algo <= LT_CONV_WINOGRAD6; }

static int conv_plan(const lt_conv2d_args *c, conv_job *job) {
  int status = lt_conv2d_prepare(c, &job->rhs);
  if (status) return status;
  job->c = c;
  job->icg = job->rhs.k;
  job->ocg = job->rhs.n;
  job->rhs.k *= c->kh * c->kw;
  job->kc = c->kc;
  job->icw = job->icg;
  job->size = sizeof(float);
  const lt_half *half = job->rhs.half;
  if (half) {
    job->kc = lt_half_words(half, min64(c->kc, job->rhs.k));
    job->rhs.k = lt_half_words(half, job->rhs.k);
    job->icw = job->icg / 2;
    job->size = sizeof(uint16_t);
  }
  job->nc = round_up(min64(c->nc, job->ocg), c->nv * job->rhs.lanes);
  job->n_blocks = ceil_div(job->ocg, job->nc);
  job->threads = min64(c->threads, LT_MAX_THREADS);
  job->ld_rows = job->room = job->pad_iw = 0;
  switch (c->algo) {
    case LT_CONV_POINTWISE:
    case LT_CONV_STRASSEN:
      if (c->kh != 1 || c->kw != 1 || c->sh != 1 || c->sw != 1 || c->pt || c->pl || c->ih != c->oh || c->iw != c->ow)
        return LT_BAD_ARGUMENT;
      job->pixels = min64(c->mc, max64(1, c->n * c->oh * c->ow));
      job->m_blocks = ceil_div(c->n * c->oh * c->ow, job->pixels);
      if (half) {
        job->ld_rows = odd_lines(job->rhs.k);
        job->room = job->pixels * job->ld_rows;
        return c->algo == LT_CONV_POINTWISE && LT_FITS(job->pixels, job->ld_rows) ? LT_OK : LT_BAD_ARGUMENT;
      }
      if (c->algo == LT_CONV_POINTWISE) return LT_OK;
      job->room = lt_strassen_floats(&job->rhs, job->pixels);
      return c->groups == 1 && c->nc >= c->oc && c->kc >= c->ic && lt_strassen_fits(&job->rhs) ? LT_OK
                                                                                               : LT_BAD_ARGUMENT;
    case LT_CONV_IM2COL:
      job->pixels = min64(c->mc, c->oh * c->ow);
      job->m_blocks = c->n * ceil_div(c->oh * c->ow, job->pixels);
      job->ld_rows = odd_lines(job->rhs.k);
      job->room = job->pixels * job->ld_rows;
      return LT_FITS(job->pixels, job->ld_rows) ? LT_OK : LT_BAD_ARGUMENT;
    case LT_CONV_DIRECT:
      if (c->kh * c->kw > MAX_TAPS || (half && job->icg % half->group)) return LT_BAD_ARGUMENT;
      job->pixels = min64(c->mc, c->oh);
      job->m_blocks = c->n * ceil_div(c->oh, job->pixels);
      if (half || needs_padding(c)) job->pad_iw = max64((c->ow - 1) * c->sw + (c->kw - 1) * c->dw + 1, c->pl + c->iw);
      return LT_FITS(max64(1, c->n), c->ih, job->pad_iw, c->ic) ? LT_OK : LT_BAD_ARGUMENT;
    default: return LT_BAD_ARGUMENT;
  }
}

int64_t lt_conv2d_work(const void *args) {
  const lt_conv2d_args *c = args;
  if (is_winograd(c)) return lt_winograd_work(c);
  conv_job job;
  if (conv_plan(c, &job)) return 0;
  return job.room * job.threads * (int64_t)sizeof(float) + job.pad_iw * c->n * c->ih * c->ic * job.size;
}

/* Copy `count` channels, as halves if the products are of these. */
static void copy_run(const conv_job *job, char *dst, const float *src, int64_t count) {
  if (job->rhs.half) {
    lt_half_copy(job->rhs.isa, (uint16_t *)dst, src, count);
  } else {
    memcpy(dst, src, (size_t)count * sizeof *src);
  }
}

/* The K values of output pixel (oy, ox) of image x, as one packed row; zeros where the window is outside. */
static void pack_row(const conv_job *job, const float *x, int64_t oy, int64_t ox, char *row) {
  const lt_conv2d_args *c = job->c;
  const int64_t icg = job->icg, tap = icg * job->size, run = c->kw * tap;
  const char *end = row + job->rhs.k * (int64_t)sizeof(float);
  const int64_t ix0 = ox * c->sw - c->pl;
  const int joined = c->dw == 1 && icg == c->ldx; /* neighbouring taps are neighbours in memory */
  for (int64_t ky = 0; ky < c->kh; ky++, row += run) {
    const int64_t iy = oy * c->sh - c->pt + ky * c->dh;
    if (iy < 0 || iy >= c->ih) {
      memset(row, 0, (size_t)run);
      continue;
    }
    const float *line = x + iy * c->iw * c->ldx;
    if (joined) {
      const int64_t from = max64(0, -ix0), to = max64(from, min64(c->kw, c->iw - ix0));
      memset(row, 0, (size_t)(min64(from, c->kw) * tap));
      if (from < c->kw) {
        copy_run(job, row + from * tap, line + (ix0 + from) * icg, (to - from) * icg);
        memset(row + to * tap, 0, (size_t)((c->kw - to) * tap));
      }
      continue;
    }
    for (int64_t kx = 0; kx < c->kw; kx++) {
      const int64_t ix = ix0 + kx * c->dw;
      if (ix < 0 || ix >= c->iw) {
        memset(row + kx * tap, 0, (size_t)tap);
      } else {
        copy_run(job, row + kx * tap, line + ix * c->ldx, icg);
      }
    }
  }
  memset(row, 0, (size_t)(end - row));
}

static const float *group_weights(const conv_job *job, int64_t group) {
  return (const float *)job->c->w + group * lt_packed_size(job->rhs.lanes, job->rhs.k, job->ocg);
}

/* Rows of C from output pixel `pixel` on. */
static void set_output(const conv_job *job, int64_t group, int64_t pixel, lt_rows *rows) {
  const lt_conv2d_args *c = job->c;
  rows->c = (float *)c->y + pixel * c->ldy + group * job->ocg;
  rows->ldc = c->ldy;
  rows->residual = c->residual ? (const float *)c->residual + pixel * c->ldr + group * job->ocg : 0;
  rows->ldr = c->ldr;
}

/* A product of rows with K as one run, in blocks of kc. */
static void run_rows(const conv_job *job, const lt_rhs *rhs, lt_rows *rows, int64_t n0, int64_t n1) {
  const float *a = rows->a;
  for (int64_t k0 = 0; k0 < rhs->k; k0 += job->kc) {
    rows->a = a + k0;
    lt_gemm_block(rhs, rows, n0, n1, k0, min64(job->kc, rhs->k - k0));
  }
}

static void pointwise_block(const conv_job *job, const lt_rhs *rhs, int64_t group, int64_t block, int64_t n0,
                            int64_t n1, int thread) {
  const lt_conv2d_args *c = job->c;
  const int64_t p0 = block * job->pixels;
  lt_rows rows = {.lda = c->ldx, .rows = min64(job->pixels, c->n * c->oh * c->ow - p0)};
  rows.a = (const float *)c->x + p0 * c->ldx + group * job->icg;
  set_output(job, group, p0, &rows);
  if (rhs->half) {
    float *room = (float *)c->work + thread * job->room;
    for (int64_t i = 0; i < rows.rows; i++)
      lt_half_row(rhs->isa, room + i * job->ld_rows, rhs->k, rows.a + i * c->ldx, job->icg);
    rows.a = room;
    rows.lda = job->ld_rows;
  }
  if (c->algo == LT_CONV_STRASSEN) {
    lt_strassen_block(rhs, &rows, (float *)c->work + thread * job->room);
  } else {
    run_rows(job, rhs, &rows, n0, n1);
  }
}

static void im2col_block(const conv_job *job, const lt_rhs *rhs, int64_t group, int64_t block, int64_t n0, int64_t n1,
                         int thread) {
  const lt_conv2d_args *c = job->c;
  const int64_t per_image = ceil_div(c->oh * c->ow, job->pixels), image = block / per_image;
  const int64_t p0 = block % per_image * job->pixels, count = min64(job->pixels, c->oh * c->ow - p0);
  const float *x = (const float *)c->x + image * c->ih * c->iw * c->ldx + group * job->icg;
  float *room = (float *)c->work + thread * job->room;
  for (int64_t i = 0; i < count; i++)
    pack_row(job, x, (p0 + i) / c->ow, (p0 + i) % c->ow, (char *)(room + i * job->ld_rows));
  lt_rows rows = {.a = room, .lda = job->ld_rows, .rows = count};
  set_output(job, group, image * c->oh * c->ow + p0, &rows);
  run_rows(job, rhs, &rows, n0, n1);
}

/* Direct: every output row is a GEMM over the pixels of that row, read in place, a segment a tap, or a segment a kernel
 * row where neighbouring taps are neighbours in memory. Kernel rows outside the image are left out at both ends, so the
 * taps that remain are consecutive in the packed weights. */
static void direct_block(const conv_job *job, const lt_rhs *rhs, int64_t group, int64_t block, int64_t n0, int64_t n1) {
  const lt_conv2d_args *c = job->c;
  const int64_t per_image = ceil_div(c->oh, job->pixels), image = block / per_image;
  const int64_t y0 = block % per_image * job->pixels, y1 = min64(c->oh, y0 + job->pixels);
  const int64_t ldx = job->pad_iw ? c->groups * job->icw : c->ldx, iw = job->pad_iw ? job->pad_iw : c->iw;
  const float *x = job->pad_iw ? c->work : c->x;
  const int64_t joined = c->dw == 1 && job->icw == ldx ? c->kw : 1; /* taps in one segment */
  for (int64_t oy = y0; oy < y1; oy++) {
    int64_t seg[MAX_TAPS], taps = 0;
    const int64_t top = oy * c->sh - c->pt;
    const int64_t first = top < 0 ? min64(c->kh, ceil_div(-top, c->dh)) : 0;
    const int64_t end = top < c->ih ? min64(c->kh, (c->ih - 1 - top) / c->dh + 1) : 0;
    for (int64_t ky = first; ky < end; ky++)
      for (int64_t kx = 0; kx < c->kw; kx += joined)
        seg[taps++] = (((image * c->ih + top + ky * c->dh) * iw) + kx * c->dw) * ldx;
    lt_rows rows = {.a = x + group * job->icw,
                    .lda = c->sw * ldx,
                    .seg = seg,
                    .nseg = taps,
                    .kseg = joined * job->icw,
                    .rows = c->ow};
    set_output(job, group, (image * c->oh + oy) * c->ow, &rows);
    lt_gemm_block(rhs, &rows, n0, n1, first * c->kw * job->icw, 0);
  }
}

static void conv_task(void *context, int64_t index, int thread) {
  const conv_job *job = context;
  const lt_conv2d_args *c = job->c;
  const int64_t per_group = job->m_blocks * job->n_blocks, group = index / per_group, i = index % per_group;
  const int64_t mb = c->split_n ? i % job->m_blocks : i / job->n_blocks;
  const int64_t nb = c->split_n ? i / job->m_blocks : i % job->n_blocks;
  const int64_t n0 = nb * job->nc, n1 = min64(job->ocg, n0 + job->nc);
  lt_rhs rhs = job->rhs;
  rhs.w = group_weights(job, group);
  rhs.bias = c->bias ? (const float *)c->bias + group * job->ocg : 0;
  switch (c->algo) {
    case LT_CONV_POINTWISE:
    case LT_CONV_STRASSEN: pointwise_block(job, &rhs, group, mb, n0, n1, thread); break;
    case LT_CONV_IM2COL: im2col_block(job, &rhs, group, mb, n0, n1, thread); break;
    default: direct_block(job, &rhs, group, mb, n0, n1);
  }
}

/* One image row of the padded copy that the direct algorithm reads. */
static void pad_task(void *context, int64_t line, int thread) {
  (void)thread;
  const conv_job *job = context;
  const lt_conv2d_args *c = job->c;
  const int64_t ic = c->ic, right = job->pad_iw - c->pl - c->iw;
  const float *src = (const float *)c->x + line * c->iw * c->ldx;
  const int64_t pixel = ic * job->size;
  char *dst = (char *)c->work + line * job->pad_iw * pixel;
  memset(dst, 0, (size_t)(c->pl * pixel));
  dst += c->pl * pixel;
  if (c->ldx == ic) {
    copy_run(job, dst, src, c->iw * ic);
  } else {
    for (int64_t i = 0; i < c->iw; i++) copy_run(job, dst + i * pixel, src + i * c->ldx, ic);
  }
  memset(dst + c->iw * pixel, 0, (size_t)(right * pixel));
}

int lt_conv2d_run(const void *args) {
  const lt_conv2d_args *c = args;
  if (is_winograd(c)) return lt_winograd_run(c);
  conv_job job;
  int status = conv_plan(c, &job);
  if (!status) status = lt_rhs_check(&job.rhs);
  if (status) return status;
  if (c->n == 0) return LT_OK;
  if (!c->x || !c->w || !c->y) return LT_BAD_ARGUMENT;
  if (!c->work && lt_conv2d_work(c) > 0) return LT_NO_WORKSPACE;
  if (job.pad_iw) lt_parallel_for(job.threads, c->n * c->ih, pad_task, &job);
  lt_parallel_for(job.threads, c->groups * job.m_blocks * job.n_blocks, conv_task, &job);
  return LT_OK;
}
