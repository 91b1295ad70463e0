/* NHWC depthwise convolution on bytes: output rows are tasks. Register tiles read the image through a pointer for each
 * input pixel, which is to a pixel of zero points outside the image; any other window is computed pixel by pixel. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "cpu/num.h"
#include "cpu/split.h"
#include "cpu/threads.h"
#include "quant/lookup.h"
#include "quant/qdwconv.h"
#include "quant/sum.h"
#include "quant/types.h"

typedef lt_qdw_tile_fn *tile_lookup(int64_t kw, int64_t s, int64_t owt);
extern tile_lookup lt_qdw_tile_avx2, lt_qdw_tile_avx512, lt_qdw_tile_avxvnni, lt_qdw_tile_avx512vnni, lt_qdw_tile_neon;
extern lt_qdw_fn lt_qdw_pixel_scalar, lt_qdw_pixel_avx2, lt_qdw_pixel_avx512, lt_qdw_pixel_neon;

static tile_lookup *const tiles[LT_INT8_ISA_COUNT] = {
    [LT_ISA_AVX2] = LT_IF_AVX2(lt_qdw_tile_avx2),
    [LT_ISA_AVX512] = LT_IF_AVX512(lt_qdw_tile_avx512),
    [LT_ISA_AVXVNNI] = LT_IF_AVXVNNI(lt_qdw_tile_avxvnni),
    [LT_ISA_AVX512VNNI] = LT_IF_AVX512VNNI(lt_qdw_tile_avx512vnni),
    [LT_ISA_NEON] = LT_IF_NEON(lt_qdw_tile_neon),
};
static lt_qdw_fn *const pixel_kernels[LT_ISA_COUNT] = LT_ISA_TABLE(lt_qdw_pixel);
static lt_qsum_row_fn *const sum_rows[LT_ISA_COUNT] = LT_ISA_TABLE(lt_qsum_row);

typedef struct {
  const lt_qdepthwise_conv2d_args *d;
  int64_t base; /* the ISA of kernels that need no special products */
  lt_qdw_run run;
  lt_qdw_tile tile;
  lt_qsum sum;
  int64_t tiles, low, more; /* of a row: `more` of its tiles have low + 1 pixels, the others low */
  lt_qdw_tile_fn *low_kernel, *more_kernel;
  int64_t block_bytes; /* of weights */
  const lt_qdw_block *blocks;
  const uint8_t *padding; /* a pixel of zero points */
  int64_t rows_per_task;
} qdw_job;

static lt_qdw_tile_fn *tile_kernel(const lt_qdepthwise_conv2d_args *d, int64_t owt) {
  return tiles[d->isa] ? tiles[d->isa](d->kw, d->sw, owt) : 0;
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
         LT_FITS(d->kh, 4 * d->kw, d->c) && LT_FITS(d->oh, d->sh) && LT_FITS(d->ow, d->sw) && LT_FITS(d->kh, d->dh) &&
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

int64_t lt_qdw_block_bytes(int64_t isa, int64_t kh, int64_t kw, int64_t sw) {
  if (isa == LT_ISA_NEON) return kh * kw * LT_QDW_BLOCK * (int64_t)sizeof(int16_t);
  const int64_t group = isa == LT_ISA_AVXVNNI || isa == LT_ISA_AVX512VNNI ? 4 : 2;
  return kh * (sw == 1 ? 2 : 1) * ((kw + group) / group) * LT_QDW_BLOCK * 4;
}

static void plan_tiles(qdw_job *job) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  job->tiles = ceil_div(d->ow, d->owt);
  job->low = d->ow / job->tiles;
  job->more = d->ow % job->tiles;
  job->low_kernel = tile_kernel(d, job->low);
  job->more_kernel = job->more ? tile_kernel(d, job->low + 1) : 0;
  job->block_bytes = lt_qdw_block_bytes(d->isa, d->kh, d->kw, d->sw);
}

static int qdw_plan(const lt_qdepthwise_conv2d_args *d, qdw_job *job) {
  if (!qdw_fits(d) || !is_quantised(d)) return LT_BAD_ARGUMENT;
  if (!lt_int8_isa_available(d->isa)) return LT_BAD_VARIANT;
  if (d->special && (d->dw != 1 || d->c < LT_QDW_BLOCK || d->kh > LT_QDW_MAX_KH || !tile_kernel(d, d->owt)))
    return LT_BAD_VARIANT;
  const int32_t flip = d->a_type == LT_I8 ? 0x80 : 0;
  const float own = (float)d->y_ratio, other = (float)d->r_ratio;
  *job = (qdw_job){
      .d = d,
      .base = lt_base_isa(d->isa),
      .run = {.row = d->dh * d->iw * d->ldx,
              .col = d->dw * d->ldx,
              .w = d->w,
              .kw = d->kw,
              .wc = d->c,
              .flip = flip,
              .x_zero = (float)(d->a_zero + flip),
              .lo = (float)(d->y_min - d->y_zero),
              .hi = (float)(d->y_max - d->y_zero),
              .y_zero = (int32_t)d->y_zero},
      .tile = {.kh = d->kh,
               .ldy = d->ldy,
               .last = d->c - LT_QDW_BLOCK,
               .y_zero = (int32_t)d->y_zero,
               .y_min = (int32_t)d->y_min,
               .y_max = (int32_t)d->y_max,
               .x_signed = d->a_type == LT_I8,
               .y_signed = d->y_type == LT_I8},
      .sum = {.a_ratio = d->r_first ? other : own,
              .b_ratio = d->r_first ? own : other,
              .offset = d->r_first ? lt_sum_offset(other, d->r_zero, own, d->y_zero, d->sum_zero)
                                   : lt_sum_offset(own, d->y_zero, other, d->r_zero, d->sum_zero),
              .lo = (float)d->sum_min,
              .hi = (float)d->sum_max,
              .is_signed = d->y_type == LT_I8},
      .rows_per_task = max64(1, d->n * d->oh / (4 * d->threads)),
  };
  if (d->special) plan_tiles(job);
  return LT_OK;
}

static int64_t count_blocks(const lt_qdepthwise_conv2d_args *d) { return ceil_div(d->c, LT_QDW_BLOCK); }

/* For tiles: the parameters of all blocks, and a pixel of padding. */
int64_t lt_qdepthwise_conv2d_work(const void *args) {
  const lt_qdepthwise_conv2d_args *d = args;
  if (!d->special || d->c < 1 || d->c > INT32_MAX) return 0;
  return count_blocks(d) * (int64_t)sizeof(lt_qdw_block) + round_up(d->c, (int64_t)sizeof(int32_t));
}

/* Fills `work`. Weights begin with their sums. */
static void start_tiles(qdw_job *job) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int32_t *sums = d->w, *bias = d->bias;
  const float *scale = d->scale;
  const uint32_t zero = (uint32_t)(d->a_zero + (d->a_type == LT_I8 ? 0x80 : 0));
  lt_qdw_block *block = d->work;
  job->blocks = block;
  for (int64_t start = 0; start < d->c; start += LT_QDW_BLOCK, block++) {
    for (int i = 0; i < LT_QDW_BLOCK; i++) {
      const int64_t c = min64(start, d->c - LT_QDW_BLOCK) + i;
      const int to = d->isa == LT_ISA_NEON ? i : i % 16 / 4 * 8 + i / 16 * 4 + i % 4;
      block->init[to] = (int32_t)((bias ? (uint32_t)bias[c] : 0u) - zero * (uint32_t)sums[c]);
      block->scale[to] = scale[c];
      job->tile.wide |= !(fabsf(scale[c]) < 1);
    }
  }
  job->padding = memset(block, (int)d->a_zero, (size_t)d->c);
}

static const uint8_t *input(const lt_qdepthwise_conv2d_args *d, int64_t image, int64_t iy, int64_t ix) {
  return (const uint8_t *)d->x + ((image * d->ih + iy) * d->iw + ix) * d->ldx;
}

/* Where the taps of `cols` neighbouring columns find their input; `at` is under the first one. */
static void point_tile(const qdw_job *job, lt_qdw_tile *t, int64_t cols, const uint8_t *at, int64_t ix) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int64_t k0 = min64(cols, max64(0, -ix)), k1 = max64(k0, min64(cols, d->iw - ix));
  const uint8_t **x = t->x;
  for (int64_t kh = 0; kh < d->kh; kh++, at += job->run.row, x += cols) {
    const bool inside = kh >= t->r0 && kh < t->r1;
    for (int64_t k = 0; k < cols; k++) x[k] = inside && k >= k0 && k < k1 ? at + k * d->ldx : job->padding;
  }
}

/* The tiles of a row; neighbours whose columns are all inside the image go to the kernel together. */
static void tiled_block(const qdw_job *job, lt_qdw_tile *t, int64_t image, int64_t oy) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int64_t iy = oy * d->sh - d->pt;
  t->r0 = iy < 0 ? min64(d->kh, ceil_div(-iy, d->dh)) : 0;
  t->r1 = iy < d->ih ? max64(t->r0, min64(d->kh, (d->ih - 1 - iy) / d->dh + 1)) : t->r0;
  t->y = (uint8_t *)d->y + (image * d->oh + oy) * d->ow * d->ldy;
  for (int64_t i = 0, ix = -d->pl; i < job->tiles; i += t->count) {
    const bool more = i < job->more;
    const int64_t owt = job->low + more, cols = (owt - 1) * d->sw + d->kw;
    t->step = owt * d->sw * d->ldx;
    t->count = 1;
    if (ix >= 0 && ix + cols <= d->iw)
      t->count = min64((more ? job->more : job->tiles) - i, (d->iw - ix - cols) / (owt * d->sw) + 1);
    point_tile(job, t, cols, input(d, image, iy, ix), ix);
    (more ? job->more_kernel : job->low_kernel)(t);
    ix += t->count * owt * d->sw;
    t->y += t->count * owt * d->ldy;
  }
}

static void tiled_row(const qdw_job *job, int64_t image, int64_t oy) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  const int64_t step = round_up(d->cb, LT_QDW_BLOCK);
  lt_qdw_tile t = job->tile;
  for (t.c0 = 0; t.c0 < d->c; t.c0 += step) {
    const int64_t block = t.c0 / LT_QDW_BLOCK;
    t.c1 = min64(d->c, t.c0 + step);
    t.w = (const char *)d->w + d->c * (int64_t)sizeof(int32_t) + block * job->block_bytes;
    t.blocks = job->blocks + block;
    tiled_block(job, &t, image, oy);
  }
}

static void pixel_row(const qdw_job *job, int64_t image, int64_t oy) {
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
    for (int64_t ox = 0; ox < d->ow; ox++) {
      const int64_t ix = ox * d->sw - d->pl;
      r.kw0 = ix < 0 ? min64(d->kw, ceil_div(-ix, d->dw)) : 0;
      r.kw1 = ix < d->iw ? max64(r.kw0, min64(d->kw, (d->iw - 1 - ix) / d->dw + 1)) : r.kw0;
      r.x = input(d, image, iy, ix) + c0;
      r.y = (uint8_t *)d->y + ((image * d->oh + oy) * d->ow + ox) * d->ldy + c0;
      pixel_kernels[job->base](&r);
    }
  }
}

static void one_row(const qdw_job *job, int64_t image, int64_t oy) {
  const lt_qdepthwise_conv2d_args *d = job->d;
  if (d->special)
    tiled_row(job, image, oy);
  else
    pixel_row(job, image, oy);
  for (int64_t ox = 0; (d->residual || d->table) && ox < d->ow; ox++) {
    const int64_t pixel = (image * d->oh + oy) * d->ow + ox;
    uint8_t *y = (uint8_t *)d->y + pixel * d->ldy;
    if (d->residual) {
      const uint8_t *r = (const uint8_t *)d->residual + pixel * d->ldr;
      sum_rows[job->base](&job->sum, d->r_first ? r : y, d->r_first ? y : r, y, d->c);
    }
    if (d->table) lt_lookup_rows[job->base](y, d->table, y, d->c);
  }
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
  if (d->special && !d->work) return LT_NO_WORKSPACE;
  if (d->special) start_tiles(&job);
  lt_parallel_for(d->threads, ceil_div(d->n * d->oh, job.rows_per_task), qdw_task, &job);
  return LT_OK;
}
