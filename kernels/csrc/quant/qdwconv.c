/* NHWC depthwise convolution on bytes, shared out as the one on floats: output rows are tasks; in a row, pixels whose
 * window is inside the image are computed in register tiles, those at the edges one by one. */
#include <stddef.h>

#include "cpu/num.h"
#include "cpu/split.h"
#include "cpu/threads.h"
#include "quant/lookup.h"
#include "quant/qdwconv.h"
#include "quant/sum.h"
#include "quant/types.h"

typedef lt_qdw_fn (*kernel_lookup)(int64_t kw, int64_t s, int64_t owt, int64_t cv);

#define DECLARE(isa)                                                             \
  lt_qdw_fn lt_qdw_kernel_##isa(int64_t kw, int64_t s, int64_t owt, int64_t cv); \
  void lt_qdw_pixel_##isa(const lt_qdw_run *run);
DECLARE(scalar)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(neon)
#undef DECLARE

static const kernel_lookup kernels[LT_ISA_COUNT] = LT_ISA_TABLE(lt_qdw_kernel);
static const lt_qdw_fn pixel_kernels[LT_ISA_COUNT] = LT_ISA_TABLE(lt_qdw_pixel);

typedef struct {
  const lt_qdepthwise_conv2d_args *d;
  lt_qdw_run run;   /* what all runs share */
  int64_t ox0, ox1; /* pixels of a row with the whole window inside */
  int64_t rows_per_task;
} qdw_job;

static lt_qdw_fn special_kernel(const lt_qdepthwise_conv2d_args *d, int64_t owt) {
  return kernels[d->isa](d->kw, d->sw, owt, d->cv);
}

/* Whether every size is positive and no index overflows. */
static bool qdw_fits(const lt_qdepthwise_conv2d_args *d) {
  const int64_t positive[] = {d->ih, d->iw, d->c,  d->oh, d->ow, d->kh,     d->kw,
                              d->sh, d->sw, d->dh, d->dw, d->cb, d->threads};
  for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
    if (positive[i] < 1 || positive[i] > INT32_MAX) return false;
  const int64_t n = max64(1, d->n);
  return d->n >= 0 && d->pt >= 0 && d->pt <= INT32_MAX && d->pl >= 0 && d->pl <= INT32_MAX && d->ldx >= d->c &&
         d->ldy >= d->c && LT_FITS(n, d->oh, d->ow, d->ldy) && LT_FITS(n, d->oh, d->ow, d->ldr) &&
         LT_FITS(d->kh, d->kw + 1, d->c) && LT_FITS(d->oh, d->sh) && LT_FITS(d->ow, d->sw) && LT_FITS(d->kh, d->dh) &&
         LT_FITS(d->kw, d->dw) && LT_FITS(d->dh, d->iw, d->ldx) && LT_FITS(d->dw, d->ldx) &&
         LT_FITS(n, d->ih + d->pt + d->oh * d->sh, d->iw + d->pl + d->ow * d->sw, d->ldx);
}

static bool is_quantised(const lt_qdepthwise_conv2d_args *d) {
  if (!lt_is_byte(d->a_type) || !lt_is_byte(d->y_type) || !lt_in_type(d->a_zero, d->a_type)) return false;
  if (!lt_in_type(d->y_zero, d->y_type) || !lt_is_range(d->y_min, d->y_max, d->y_type)) return false;
  if (!d->residual) return true;
  return lt_is_scale(d->y_ratio) && lt_is_scale(d->r_ratio) && lt_in_type(d->r_zero, d->y_type) &&
         lt_in_type(d->sum_zero, d->y_type) && lt_is_range(d->sum_min, d->sum_max, d->y_type);
}

static lt_qdw_run shared_run(const lt_qdepthwise_conv2d_args *d) {
  const int32_t flip = d->a_type == LT_I8 ? 0x80 : 0;
  const float own = (float)d->y_ratio, other = (float)d->r_ratio;
  return (lt_qdw_run){
      .row = d->dh * d->iw * d->ldx,
      .col = d->dw * d->ldx,
      .ldx = d->ldx,
      .kw = d->kw,
      .wc = d->c,
      .flip = flip,
      .x_zero = (float)(d->a_zero + flip),
      .ldy = d->ldy,
      .ldr = d->ldr,
      .lo = (float)(d->y_min - d->y_zero),
      .hi = (float)(d->y_max - d->y_zero),
      .y_zero = (int32_t)d->y_zero,
      .r_signed = d->y_type == LT_I8,
      .r_first = d->r_first != 0,
      .y_ratio = own,
      .r_ratio = other,
      .sum_offset = d->r_first ? lt_sum_offset(other, d->r_zero, own, d->y_zero, d->sum_zero)
                               : lt_sum_offset(own, d->y_zero, other, d->r_zero, d->sum_zero),
      .sum_lo = (float)d->sum_min,
      .sum_hi = (float)d->sum_max,
  };
}

static int qdw_plan(const lt_qdepthwise_conv2d_args *d, qdw_job *job) {
  if (!qdw_fits(d) || !is_quantised(d)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(d->isa)) return LT_BAD_VARIANT;
  if (d->special && (d->dw != 1 || d->owt < 1 || d->kh * d->kw > LT_QDW_EXACT || !special_kernel(d, d->owt)))
    return LT_BAD_VARIANT;
  const int64_t span = (d->kw - 1) * d->dw + 1;
  job->d = d;
  job->run = shared_run(d);
  job->ox0 = min64(d->ow, ceil_div(d->pl, d->sw));
  job->ox1 = d->iw + d->pl < span ? job->ox0 : max64(job->ox0, min64(d->ow, (d->iw + d->pl - span) / d->sw + 1));
  job->rows_per_task = max64(1, d->n * d->oh / (4 * d->threads));
  return LT_OK;
}

int64_t lt_qdepthwise_conv2d_work(const void *args) {
  (void)args;
  return 0;
}

/* The run of output pixels from ox on, channels from c0 on. */
static void run_pixels(const qdw_job *job, lt_qdw_run *r, int64_t image, int64_t oy, int64_t ox, int64_t c0,
                       lt_qdw_fn fn) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int64_t iy = oy * d->sh - d->pt, ix = ox * d->sw - d->pl;
  const int64_t pixel = (image * d->oh + oy) * d->ow + ox;
  r->x = (const uint8_t *)d->x + ((image * d->ih + iy) * d->iw + ix) * d->ldx + c0;
  r->y = (uint8_t *)d->y + pixel * d->ldy + c0;
  r->residual = d->residual ? (const uint8_t *)d->residual + pixel * d->ldr + c0 : 0;
  fn(r);
}

static void edge_pixel(const qdw_job *job, lt_qdw_run *r, int64_t image, int64_t oy, int64_t ox, int64_t c0) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int64_t ix = ox * d->sw - d->pl;
  r->kw0 = ix < 0 ? min64(d->kw, ceil_div(-ix, d->dw)) : 0;
  r->kw1 = ix < d->iw ? max64(r->kw0, min64(d->kw, (d->iw - 1 - ix) / d->dw + 1)) : r->kw0;
  run_pixels(job, r, image, oy, ox, c0, pixel_kernels[d->isa]);
}

static void one_row(const qdw_job *job, int64_t image, int64_t oy) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int64_t iy = oy * d->sh - d->pt;
  lt_qdw_run r = job->run;
  r.kh0 = iy < 0 ? min64(d->kh, ceil_div(-iy, d->dh)) : 0;
  r.kh1 = iy < d->ih ? max64(r.kh0, min64(d->kh, (d->ih - 1 - iy) / d->dh + 1)) : r.kh0;
  for (int64_t c0 = 0; c0 < d->c; c0 += d->cb) {
    r.c = min64(d->cb, d->c - c0);
    r.w = (const float *)d->w + c0;
    r.bias = d->bias ? (const int32_t *)d->bias + c0 : 0;
    r.scale = (const float *)d->scale + c0;
    for (int64_t ox = 0; ox < job->ox0; ox++) edge_pixel(job, &r, image, oy, ox, c0);
    const int64_t inside = job->ox1 - job->ox0;
    if (d->special && inside > 0) {
      const int64_t tiles = ceil_div(inside, d->owt), low = inside / tiles, more = inside % tiles;
      const lt_qdw_fn low_fn = special_kernel(d, low), more_fn = more ? special_kernel(d, low + 1) : 0;
      for (int64_t i = 0, ox = job->ox0; i < tiles; ox += low + (i < more), i++)
        run_pixels(job, &r, image, oy, ox, c0, i < more ? more_fn : low_fn);
    } else {
      for (int64_t ox = job->ox0; ox < job->ox1; ox++) edge_pixel(job, &r, image, oy, ox, c0);
    }
    for (int64_t ox = job->ox1; ox < d->ow; ox++) edge_pixel(job, &r, image, oy, ox, c0);
  }
  if (!d->table) return;
  uint8_t *y = (uint8_t *)d->y + (image * d->oh + oy) * d->ow * d->ldy;
  for (int64_t ox = 0; ox < d->ow; ox++, y += d->ldy) lt_lookup_rows[d->isa](y, d->table, y, d->c);
}

static void qdw_task(void *context, int64_t index, int thread) {
  (void)thread;
  const qdw_job *job = context;
  const int64_t r0 = index * job->rows_per_task, r1 = min64(job->d->n * job->d->oh, r0 + job->rows_per_task);
  for (int64_t r = r0; r < r1; r++) one_row(job, r / job->d->oh, r % job->d->oh);
}

int lt_qdepthwise_conv2d_run(const void *args) {
  const lt_qdepthwise_conv2d_args *d = args;
  qdw_job job;
  const int status = qdw_plan(d, &job);
  if (status) return status;
  if (d->n == 0) return LT_OK;
  if (!d->x || !d->w || !d->scale || !d->y) return LT_BAD_ARGUMENT;
  lt_parallel_for(d->threads, ceil_div(d->n * d->oh, job.rows_per_task), qdw_task, &job);
  return LT_OK;
}
