/* NHWC depthwise convolution: output rows are tasks; in a row, pixels whose window is inside the image are computed in
 * register tiles, those at the edges one by one. */
#include <stddef.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"
#include "../gemm/gemm.h"
#include "dwconv.h"
#include "luthier/lt_ops.h"

typedef lt_dw_fn (*kernel_lookup)(int64_t kw, int64_t s, int64_t owt, int64_t cv);

#define DECLARE(isa)                                                           \
  lt_dw_fn lt_dw_kernel_##isa(int64_t kw, int64_t s, int64_t owt, int64_t cv); \
  void lt_dw_pixel_##isa(const lt_dw_run *run);
DECLARE(scalar)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(neon)
#undef DECLARE

static const kernel_lookup kernels[LT_ISA_COUNT] = LT_ISA_TABLE(lt_dw_kernel);
static const lt_dw_fn pixel_kernels[LT_ISA_COUNT] = LT_ISA_TABLE(lt_dw_pixel);

typedef struct {
  const lt_depthwise_conv2d_args *d;
  lt_epilogue epilogue;
  int64_t ox0, ox1; /* pixels of a row with the whole window inside */
  int64_t rows_per_task;
} dw_job;

static lt_dw_fn special_kernel(const lt_depthwise_conv2d_args *d, int64_t owt) {
  return kernels[d->isa](d->kw, d->sw, owt, d->cv);
}

/* Whether every size is positive and no index overflows. */
static int dw_fits(const lt_depthwise_conv2d_args *d) {
  const int64_t positive[] = {d->ih, d->iw, d->c,  d->oh, d->ow, d->kh,     d->kw,
                              d->sh, d->sw, d->dh, d->dw, d->cb, d->threads};
  for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
    if (positive[i] < 1 || positive[i] > INT32_MAX) return 0;
  const int64_t n = max64(1, d->n);
  return d->n >= 0 && d->pt >= 0 && d->pt <= INT32_MAX && d->pl >= 0 && d->pl <= INT32_MAX && d->ldx >= d->c &&
         d->ldy >= d->c && LT_FITS(n, d->oh, d->ow, d->ldy) && LT_FITS(n, d->oh, d->ow, d->ldr) &&
         LT_FITS(d->kh, d->kw, d->c) && LT_FITS(d->oh, d->sh) && LT_FITS(d->ow, d->sw) && LT_FITS(d->kh, d->dh) &&
         LT_FITS(d->kw, d->dw) && LT_FITS(d->dh, d->iw, d->ldx) && LT_FITS(d->dw, d->ldx) &&
         LT_FITS(n, d->ih + d->pt + d->oh * d->sh, d->iw + d->pl + d->ow * d->sw, d->ldx);
}

static int dw_plan(const lt_depthwise_conv2d_args *d, dw_job *job) {
  if (!dw_fits(d)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(d->isa)) return LT_BAD_VARIANT;
  if (d->special && (d->dw != 1 || d->owt < 1 || !special_kernel(d, d->owt))) return LT_BAD_VARIANT;
  job->d = d;
  int status = lt_epilogue_prepare(&job->epilogue, d->isa, d->act, (float)d->alpha, (float)d->beta);
  if (status) return status;
  const int64_t span = (d->kw - 1) * d->dw + 1;
  job->ox0 = min64(d->ow, ceil_div(d->pl, d->sw));
  job->ox1 = d->iw + d->pl < span ? job->ox0 : max64(job->ox0, min64(d->ow, (d->iw + d->pl - span) / d->sw + 1));
  job->rows_per_task = max64(1, d->n * d->oh / (4 * d->threads));
  return LT_OK;
}

int64_t lt_depthwise_conv2d_work(const void *args) {
  (void)args;
  return 0;
}

/* `count` output pixels from ox on, channels [c0, c0 + c). */
static void run_pixels(const dw_job *job, lt_dw_run *r, int64_t image, int64_t oy, int64_t ox, int64_t c0,
                       lt_dw_fn fn) {
  const lt_depthwise_conv2d_args *d = job->d;
  const int64_t iy = oy * d->sh - d->pt, ix = ox * d->sw - d->pl;
  const int64_t pixel = (image * d->oh + oy) * d->ow + ox;
  r->x = (const float *)d->x + ((image * d->ih + iy) * d->iw + ix) * d->ldx + c0;
  r->y = (float *)d->y + pixel * d->ldy + c0;
  r->residual = d->residual ? (const float *)d->residual + pixel * d->ldr + c0 : 0;
  fn(r);
}

static void edge_pixel(const dw_job *job, lt_dw_run *r, int64_t image, int64_t oy, int64_t ox, int64_t c0) {
  const lt_depthwise_conv2d_args *d = job->d;
  const int64_t ix = ox * d->sw - d->pl;
  r->kw0 = ix < 0 ? min64(d->kw, ceil_div(-ix, d->dw)) : 0;
  r->kw1 = ix < d->iw ? max64(r->kw0, min64(d->kw, (d->iw - 1 - ix) / d->dw + 1)) : r->kw0;
  run_pixels(job, r, image, oy, ox, c0, pixel_kernels[d->isa]);
}

static void one_row(const dw_job *job, int64_t image, int64_t oy) {
  const lt_depthwise_conv2d_args *d = job->d;
  const int64_t iy = oy * d->sh - d->pt;
  lt_dw_run r = {.row = d->dh * d->iw * d->ldx,
                 .col = d->dw * d->ldx,
                 .ldx = d->ldx,
                 .kw = d->kw,
                 .wc = d->c,
                 .ldy = d->ldy,
                 .ldr = d->ldr,
                 .act = job->epilogue.act,
                 .lo = job->epilogue.lo,
                 .hi = job->epilogue.hi};
  r.kh0 = iy < 0 ? min64(d->kh, ceil_div(-iy, d->dh)) : 0;
  r.kh1 = iy < d->ih ? max64(r.kh0, min64(d->kh, (d->ih - 1 - iy) / d->dh + 1)) : r.kh0;
  for (int64_t c0 = 0; c0 < d->c; c0 += d->cb) {
    r.c = min64(d->cb, d->c - c0);
    r.w = (const float *)d->w + c0;
    r.bias = d->bias ? (const float *)d->bias + c0 : 0;
    for (int64_t ox = 0; ox < job->ox0; ox++) edge_pixel(job, &r, image, oy, ox, c0);
    const int64_t inside = job->ox1 - job->ox0;
    if (d->special && inside > 0) {
      const int64_t tiles = ceil_div(inside, d->owt), low = inside / tiles, more = inside % tiles;
      const lt_dw_fn low_fn = special_kernel(d, low), more_fn = more ? special_kernel(d, low + 1) : 0;
      for (int64_t i = 0, ox = job->ox0; i < tiles; ox += low + (i < more), i++)
        run_pixels(job, &r, image, oy, ox, c0, i < more ? more_fn : low_fn);
    } else {
      for (int64_t ox = job->ox0; ox < job->ox1; ox++) edge_pixel(job, &r, image, oy, ox, c0);
    }
    for (int64_t ox = job->ox1; ox < d->ow; ox++) edge_pixel(job, &r, image, oy, ox, c0);
  }
  if (job->epilogue.rest)
    job->epilogue.rest((float *)d->y + (image * d->oh + oy) * d->ow * d->ldy, d->ow, d->c, d->ldy, d->act,
                       (float)d->alpha, (float)d->beta);
}

static void dw_task(void *context, int64_t index, int thread) {
  (void)thread;
  const dw_job *job = context;
  const int64_t r0 = index * job->rows_per_task, r1 = min64(job->d->n * job->d->oh, r0 + job->rows_per_task);
  for (int64_t r = r0; r < r1; r++) one_row(job, r / job->d->oh, r % job->d->oh);
}

int lt_depthwise_conv2d_run(const void *args) {
  const lt_depthwise_conv2d_args *d = args;
  dw_job job;
  int status = dw_plan(d, &job);
  if (status) return status;
  if (d->n == 0) return LT_OK;
  if (!d->x || !d->w || !d->y) return LT_BAD_ARGUMENT;
  lt_parallel_for(d->threads, ceil_div(d->n * d->oh, job.rows_per_task), dw_task, &job);
  return LT_OK;
}
