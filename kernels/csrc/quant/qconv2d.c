/* NHWC convolution on bytes as a product: rows are output pixels, columns output channels, k runs over (kh, kw, ic). */
#include <stddef.h>
#include <string.h>

#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"
#include "qgemm.h"

#define MAX_TAPS 1024 /* segments of the direct algorithm, on the stack */

typedef struct {
  const lt_qconv2d_args *c;
  lt_qrhs rhs;
  int64_t icg, ocg;               /* channels per group */
  int64_t pixels;                 /* rows of one block: mc output pixels, or mc rows of the image (direct) */
  int64_t m_blocks, n_blocks, nc; /* of one group */
  int64_t threads;
  int64_t ld_rows; /* bytes between the copied rows of a block; 0 if there are none */
  int64_t room;    /* bytes of copied rows for each thread */
  int64_t copy_iw; /* direct: width of the padded copy, 0 if the input is read in place */
} conv_job;

/* Whether every size is positive and no index overflows. */
static int conv_fits(const lt_qconv2d_args *c) {
  const int64_t positive[] = {c->ih, c->iw, c->ic, c->oh, c->ow,     c->oc, c->kh, c->kw,
                              c->sh, c->sw, c->dh, c->dw, c->groups, c->mc, c->nc, c->threads};
  for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
    if (positive[i] < 1 || positive[i] > INT32_MAX) return 0;
  const int64_t n = max64(1, c->n);
  return c->n >= 0 && c->pt >= 0 && c->pt <= INT32_MAX && c->pl >= 0 && c->pl <= INT32_MAX &&
         LT_FITS(n, c->ih, c->iw, c->ldx) && LT_FITS(n, c->oh, c->ow, c->ldy) && LT_FITS(n, c->oh, c->ow, c->ldr) &&
         LT_FITS(c->kh, c->kw, c->ic, c->oc, 8) && LT_FITS(c->oh, c->sh) && LT_FITS(c->ow, c->sw) &&
         LT_FITS(c->kh, c->dh) && LT_FITS(c->kw, c->dw);
}

/* Columns, or rows, of the input that the windows reach. */
static int64_t reach(int64_t out, int64_t stride, int64_t kernel, int64_t dilation) {
  return (out - 1) * stride + (kernel - 1) * dilation + 1;
}

/* Direct: neighbouring taps of a row are one segment where a dense map has them side by side. fields.pack_weights
 * decides the same. */
static int is_joined(const lt_qconv2d_args *c) { return c->dw == 1 && c->groups == 1; }

static int needs_copy(const lt_qconv2d_args *c, const lt_qformat *format) {
  return format->size == 2 || c->pt > 0 || c->pl > 0 || reach(c->oh, c->sh, c->kh, c->dh) > c->ih ||
         reach(c->ow, c->sw, c->kw, c->dw) > c->iw || (is_joined(c) && c->kw > 1 && c->ldx != c->ic);
}

void lt_qconv2d_runs(const lt_qconv2d_args *c, int64_t icg, int64_t *nseg, int64_t *run) {
  const int64_t together = c->algo != LT_CONV_DIRECT ? c->kh * c->kw : is_joined(c) ? c->kw : 1; /* taps of a run */
  *run = together * icg;
  *nseg = together ? c->kh * c->kw / together : 0;
}

/* Blocks of whole rows of A, copied unless `in_place`; returns a status. */
static int plan_rows(conv_job *job, int64_t pixels, int64_t images, int in_place) {
  const lt_qformat *format = job->rhs.format;
  job->pixels = min64(job->c->mc, max64(1, pixels));
  job->m_blocks = images * ceil_div(pixels, job->pixels);
  if (in_place) return LT_OK;
  job->ld_rows = (lt_qrow_bytes(format, job->rhs.run) / 64 | 1) * 64 + 64;
  job->room = job->pixels * job->ld_rows;
  return LT_FITS(job->pixels, job->ld_rows) ? LT_OK : LT_BAD_ARGUMENT;
}

static int plan_direct(conv_job *job) {
  const lt_qconv2d_args *c = job->c;
  if (c->kh * c->kw > MAX_TAPS) return LT_BAD_ARGUMENT;
  job->pixels = min64(c->mc, c->oh);
  job->m_blocks = c->n * ceil_div(c->oh, job->pixels);
  if (!needs_copy(c, job->rhs.format)) return LT_OK;
  job->copy_iw = max64(reach(c->ow, c->sw, c->kw, c->dw), c->pl + c->iw);
  return LT_FITS(max64(1, c->n), c->ih + 1, job->copy_iw, c->ic, 2) ? LT_OK : LT_BAD_ARGUMENT;
}

static int conv_plan(const lt_qconv2d_args *c, conv_job *job) {
  if (!conv_fits(c) || c->ic % c->groups || c->oc % c->groups || c->ldx < c->ic || c->ldy < c->oc)
    return LT_BAD_ARGUMENT;
  *job = (conv_job){.c = c, .icg = c->ic / c->groups, .ocg = c->oc / c->groups};
  int status = LT_QRHS_PREPARE(&job->rhs, c);
  if (status) return status;
  const lt_qformat *format = job->rhs.format;
  job->rhs.n = job->ocg;
  lt_qconv2d_runs(c, job->icg, &job->rhs.nseg, &job->rhs.run);
  job->nc = round_up(min64(c->nc, job->ocg), c->nv * format->lanes);
  job->n_blocks = ceil_div(job->ocg, job->nc);
  job->threads = min64(c->threads, LT_MAX_THREADS);
  switch (c->algo) {
    case LT_CONV_POINTWISE:
      if (c->kh != 1 || c->kw != 1 || c->sh != 1 || c->sw != 1 || c->pt || c->pl || c->ih != c->oh || c->iw != c->ow)
        return LT_BAD_ARGUMENT;
      return plan_rows(job, c->n * c->oh * c->ow, 1, format->size == 1);
    case LT_CONV_IM2COL: return plan_rows(job, c->oh * c->ow, c->n, 0);
    case LT_CONV_DIRECT: return plan_direct(job);
    default: return LT_BAD_ARGUMENT;
  }
}

/* Bytes of the copied map; one row of zeros and what the last group of a run may reach beyond follow it. */
static int64_t copied_bytes(const conv_job *job) {
  const lt_qconv2d_args *c = job->c;
  if (!job->copy_iw) return 0;
  return ((c->n * c->ih + 1) * job->copy_iw * c->ic + job->rhs.format->group) * job->rhs.format->size;
}

int64_t lt_qconv2d_work(const void *args) {
  conv_job job;
  if (conv_plan(args, &job)) return 0;
  return job.room * job.threads + copied_bytes(&job);
}

/* The K values of output pixel (oy, ox) of image x, as one row; zeros where the window is outside. */
static void copy_window(const conv_job *job, const uint8_t *x, int64_t oy, int64_t ox, uint8_t *row) {
  const lt_qconv2d_args *c = job->c;
  const lt_qformat *format = job->rhs.format;
  const int64_t icg = job->icg, size = format->size, zero = job->rhs.end.a_zero;
  const int64_t ix0 = ox * c->sw - c->pl;
  const int joined = c->dw == 1 && icg == c->ldx; /* neighbouring taps are neighbours in memory */
  for (int64_t ky = 0; ky < c->kh; ky++, row += c->kw * icg * size) {
    const int64_t iy = oy * c->sh - c->pt + ky * c->dh;
    if (iy < 0 || iy >= c->ih) {
      lt_qfill_row(format, row, zero, c->kw * icg);
      continue;
    }
    const uint8_t *line = x + iy * c->iw * c->ldx;
    if (joined) {
      const int64_t from = min64(c->kw, max64(0, -ix0)), to = max64(from, min64(c->kw, c->iw - ix0));
      lt_qfill_row(format, row, zero, from * icg);
      if (to > from)
        lt_qcopy_row(format, c->a_type, row + from * icg * size, line + (ix0 + from) * icg, (to - from) * icg);
      lt_qfill_row(format, row + to * icg * size, zero, (c->kw - to) * icg);
      continue;
    }
    for (int64_t kx = 0; kx < c->kw; kx++) {
      const int64_t ix = ix0 + kx * c->dw;
      if (ix < 0 || ix >= c->iw) {
        lt_qfill_row(format, row + kx * icg * size, zero, icg);
      } else {
        lt_qcopy_row(format, c->a_type, row + kx * icg * size, line + ix * c->ldx, icg);
      }
    }
  }
}

/* Rows of C from output pixel `pixel` on. */
static void set_output(const conv_job *job, int64_t group, int64_t pixel, lt_qrows *rows) {
  const lt_qconv2d_args *c = job->c;
  rows->c = (uint8_t *)c->y + (pixel * c->ldy + group * job->ocg) * lt_qsize(c->y_type);
  rows->ldc = c->ldy;
  rows->residual = c->residual ? (const uint8_t *)c->residual + pixel * c->ldr + group * job->ocg : 0;
  rows->ldr = c->ldr;
}

/* A block of pixels whose whole K is one run: in place, or copied. */
static void rows_block(const conv_job *job, const lt_qrhs *rhs, int64_t group, int64_t block, int64_t n0, int64_t n1,
                       int thread) {
  const lt_qconv2d_args *c = job->c;
  const int64_t all = c->oh * c->ow * (c->algo == LT_CONV_POINTWISE ? c->n : 1);
  const int64_t per_image = ceil_div(all, job->pixels), image = block / per_image;
  const int64_t p0 = block % per_image * job->pixels, count = min64(job->pixels, all - p0);
  const uint8_t *x = (const uint8_t *)c->x + image * c->ih * c->iw * c->ldx + group * job->icg;
  const uint8_t *start = x + p0 * c->ldx;
  lt_qrows rows = {.seg = &start, .lda = c->ldx, .rows = count};
  if (job->ld_rows) {
    uint8_t *room = (uint8_t *)c->work + thread * job->room;
    for (int64_t i = 0; i < count; i++) {
      uint8_t *row = room + i * job->ld_rows;
      if (c->algo == LT_CONV_POINTWISE) {
        lt_qcopy_row(rhs->format, c->a_type, row, start + i * c->ldx, job->icg);
      } else {
        copy_window(job, x, (p0 + i) / c->ow, (p0 + i) % c->ow, row);
      }
    }
    start = room;
    rows.lda = job->ld_rows;
    rows.padded = 1;
  }
  set_output(job, group, image * c->oh * c->ow + p0, &rows);
  lt_qgemm_block(rhs, &rows, n0, n1);
}

/* Direct: every output row is a product over the pixels of that row, read in place or from a padded copy, a segment a
 * tap, or a segment a kernel row. Kernel rows outside the image read the row of zeros that follows the copy. */
static void direct_block(const conv_job *job, const lt_qrhs *rhs, int64_t group, int64_t block, int64_t n0,
                         int64_t n1) {
  const lt_qconv2d_args *c = job->c;
  const int64_t per_image = ceil_div(c->oh, job->pixels), image = block / per_image;
  const int64_t y0 = block % per_image * job->pixels, y1 = min64(c->oh, y0 + job->pixels);
  const int64_t size = rhs->format->size, pitch = (job->copy_iw ? c->ic : c->ldx) * size;
  const int64_t line = (job->copy_iw ? job->copy_iw : c->iw) * pitch;
  const uint8_t *x = job->copy_iw ? (const uint8_t *)c->work + job->room * job->threads : c->x;
  const int64_t step = is_joined(c) ? c->kw : 1; /* taps in one segment */
  for (int64_t oy = y0; oy < y1; oy++) {
    const uint8_t *seg[MAX_TAPS];
    int64_t taps = 0;
    for (int64_t ky = 0; ky < c->kh; ky++) {
      const int64_t iy = oy * c->sh - c->pt + ky * c->dh;
      const int64_t from = iy >= 0 && iy < c->ih ? image * c->ih + iy : c->n * c->ih;
      for (int64_t kx = 0; kx < c->kw; kx += step)
        seg[taps++] = x + from * line + kx * c->dw * pitch + group * job->icg * size;
    }
    lt_qrows rows = {.seg = seg, .lda = c->sw * pitch, .padded = job->copy_iw > 0, .rows = c->ow};
    set_output(job, group, (image * c->oh + oy) * c->ow, &rows);
    lt_qgemm_block(rhs, &rows, n0, n1);
  }
}

static void conv_task(void *context, int64_t index, int thread) {
  const conv_job *job = context;
  const lt_qconv2d_args *c = job->c;
  const int64_t per_group = job->m_blocks * job->n_blocks, group = index / per_group, i = index % per_group;
  const int64_t mb = c->split_n ? i % job->m_blocks : i / job->n_blocks;
  const int64_t nb = c->split_n ? i / job->m_blocks : i % job->n_blocks;
  const int64_t n0 = nb * job->nc, n1 = min64(job->ocg, n0 + job->nc), first = group * job->ocg;
  lt_qrhs rhs = job->rhs;
  rhs.w = (const uint8_t *)c->w + group * lt_qpacked_size(rhs.format, rhs.nseg, rhs.run, job->ocg);
  if (rhs.end.bias) rhs.end.bias += first;
  if (rhs.end.scale) rhs.end.scale += first;
  if (rhs.end.fbias) rhs.end.fbias += first;
  if (c->algo == LT_CONV_DIRECT) {
    direct_block(job, &rhs, group, mb, n0, n1);
  } else {
    rows_block(job, &rhs, group, mb, n0, n1, thread);
  }
}

/* One row of the padded copy that the direct algorithm reads. */
static void copy_task(void *context, int64_t line, int thread) {
  (void)thread;
  const conv_job *job = context;
  const lt_qconv2d_args *c = job->c;
  const lt_qformat *format = job->rhs.format;
  const int64_t ic = c->ic, size = format->size, zero = job->rhs.end.a_zero;
  uint8_t *dst = (uint8_t *)c->work + job->room * job->threads + line * job->copy_iw * ic * size;
  if (line == c->n * c->ih) {
    lt_qfill_row(format, dst, zero, job->copy_iw * ic + format->group);
    return;
  }
  const uint8_t *src = (const uint8_t *)c->x + line * c->iw * c->ldx;
  lt_qfill_row(format, dst, zero, c->pl * ic);
  dst += c->pl * ic * size;
  if (c->ldx == ic) {
    lt_qcopy_row(format, c->a_type, dst, src, c->iw * ic);
  } else {
    for (int64_t i = 0; i < c->iw; i++) lt_qcopy_row(format, c->a_type, dst + i * ic * size, src + i * c->ldx, ic);
  }
  lt_qfill_row(format, dst + c->iw * ic * size, zero, (job->copy_iw - c->pl - c->iw) * ic);
}

int lt_qconv2d_run(const void *args) {
  const lt_qconv2d_args *c = args;
  conv_job job;
  int status = conv_plan(c, &job);
  if (!status) status = lt_qrhs_check(&job.rhs);
  if (status) return status;
  if (c->n == 0) return LT_OK;
  if (!c->x || !c->w || !c->y) return LT_BAD_ARGUMENT;
  if (!c->work && lt_qconv2d_work(c) > 0) return LT_NO_WORKSPACE;
  if (job.copy_iw) lt_parallel_for(job.threads, c->n * c->ih + 1, copy_task, &job);
  lt_parallel_for(job.threads, c->groups * job.m_blocks * job.n_blocks, conv_task, &job);
  return LT_OK;
}
