/* Winograd convolution: blocks of tiles are transformed into V, multiplied place by place, and transformed back.
 *
 * Config: mc tiles and nc output channels in a block. With split_n, V of all tiles is made first and kept, and the
 * products are shared out by columns, so that each thread reads its own part of the weights just once. Otherwise a
 * thread takes a block of tiles from input to output while it is in its cache. */
#include "winograd.h"

#include <stddef.h>
#include <string.h>

#include "../conv/conv2d.h"
#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "../cpu/split.h"
#include "../cpu/threads.h"

extern const lt_winograd_transforms lt_winograd_transforms_scalar[4], lt_winograd_transforms_avx2[4],
    lt_winograd_transforms_avx512[4], lt_winograd_transforms_neon[4];
static const lt_winograd_transforms *const transforms[LT_ISA_COUNT] = LT_ISA_TABLE(lt_winograd_transforms);

typedef struct {
  const lt_conv2d_args *c;
  lt_rhs rhs; /* of one place; the epilogue is the output transform's */
  lt_epilogue epilogue;
  lt_winograd_transforms transforms;
  int64_t icg;                 /* channels of a group */
  int64_t tile, span, places;  /* m, m + 2, (m + 2)^2 */
  int64_t across, image;       /* tiles of a row and of an image */
  int64_t tiles, blocks;       /* of all images */
  int64_t nc, n_blocks;        /* of one group */
  int64_t ldv, ldm;            /* distances between the tiles of V and M */
  int64_t v_stride, m_stride;  /* distances between places */
  int64_t v_room, thread_room; /* floats of one block's V, and of M and a patch for each thread */
  int64_t v_count;             /* V of each block of every group, or of each thread */
  int64_t threads;
} winograd_job;

static int winograd_plan(const lt_conv2d_args *c, winograd_job *job) {
  *job = (winograd_job){.c = c, .tile = 2 * (c->algo - LT_CONV_WINOGRAD2 + 1)};
  int status = lt_conv2d_prepare(c, &job->rhs);
  if (!status && job->rhs.half) status = LT_BAD_VARIANT;
  if (status) return status;
  job->icg = job->rhs.k;
  if (c->kh != 3 || c->kw != 3 || c->sh != 1 || c->sw != 1 || c->dh != 1 || c->dw != 1) return LT_BAD_ARGUMENT;
  job->epilogue = job->rhs.epilogue;
  status = lt_epilogue_prepare(&job->rhs.epilogue, c->isa, LT_ACT_NONE, 0, 0);
  if (status) return status;
  if (transforms[c->isa]) job->transforms = transforms[c->isa][job->tile / 2];
  job->span = job->tile + 2;
  job->places = job->span * job->span;
  job->across = ceil_div(c->ow, job->tile);
  job->image = job->across * ceil_div(c->oh, job->tile);
  job->tiles = c->n * job->image;
  job->blocks = ceil_div(job->tiles, c->mc);
  const int64_t most = job->blocks ? ceil_div(job->tiles, job->blocks) : 0, panel = c->nv * job->rhs.lanes;
  job->nc = round_up(min64(c->nc, job->rhs.n), panel);
  job->n_blocks = ceil_div(job->rhs.n, job->nc);
  job->threads = min64(c->threads, LT_MAX_THREADS);
  job->ldv = odd_lines(job->icg);
  job->ldm = odd_lines(min64(job->nc, job->rhs.n));
  job->v_count = c->split_n ? c->groups * job->blocks : job->threads;
  if (!LT_FITS(job->places, most + 1, max64(job->ldv, job->ldm), max64(1, job->v_count))) return LT_BAD_ARGUMENT;
  job->v_stride = odd_lines(most * job->ldv);
  job->m_stride = odd_lines(most * job->ldm);
  job->v_room = job->places * job->v_stride;
  job->thread_room = job->places * (job->m_stride + job->ldv);
  return LT_OK;
}

int64_t lt_winograd_work(const lt_conv2d_args *c) {
  winograd_job job;
  if (winograd_plan(c, &job)) return 0;
  return (job.v_room * job.v_count + job.thread_room * job.threads) * (int64_t)sizeof(float);
}

/* A patch that reaches beyond the image, with zeros there. */
static void copy_patch(const winograd_job *job, const float *image, int64_t iy, int64_t ix, float *patch) {
  const lt_conv2d_args *c = job->c;
  const size_t bytes = (size_t)job->icg * sizeof *patch;
  for (int64_t y = iy; y < iy + job->span; y++)
    for (int64_t x = ix; x < ix + job->span; x++, patch += job->ldv)
      if (y >= 0 && y < c->ih && x >= 0 && x < c->iw) {
        memcpy(patch, image + (y * c->iw + x) * c->ldx, bytes);
      } else {
        memset(patch, 0, bytes);
      }
}

/* Where a thread's own scratch begins: M, then a patch. */
static float *thread_room(const winograd_job *job, int thread) {
  return (float *)job->c->work + job->v_count * job->v_room + thread * job->thread_room;
}

/* Tiles are shared out evenly among blocks. */
static int64_t first_tile(const winograd_job *job, int64_t block) {
  return job->tiles / job->blocks * block + min64(block, job->tiles % job->blocks);
}

static void transform_inputs(const winograd_job *job, int64_t group, int64_t block, float *v, int thread) {
  const lt_conv2d_args *c = job->c;
  float *patch = thread_room(job, thread) + job->places * job->m_stride;
  lt_winograd_input t = {.channels = job->icg, .v = v, .stride = job->v_stride};
  const int64_t end = first_tile(job, block + 1);
  for (int64_t tile = first_tile(job, block); tile < end; tile++, t.v += job->ldv) {
    const int64_t n = tile / job->image, place = tile % job->image;
    const int64_t iy = place / job->across * job->tile - c->pt, ix = place % job->across * job->tile - c->pl;
    const float *image = (const float *)c->x + n * c->ih * c->iw * c->ldx + group * job->icg;
    if (iy >= 0 && iy + job->span <= c->ih && ix >= 0 && ix + job->span <= c->iw) {
      t.x = image + (iy * c->iw + ix) * c->ldx;
      t.row = c->iw * c->ldx;
      t.col = c->ldx;
    } else {
      copy_patch(job, image, iy, ix, patch);
      t.x = patch;
      t.row = job->span * job->ldv;
      t.col = job->ldv;
    }
    job->transforms.input(&t);
  }
}

static void transform_outputs(const winograd_job *job, int64_t group, int64_t block, int64_t n0, int64_t columns,
                              const float *m) {
  const lt_conv2d_args *c = job->c;
  const int64_t channel = group * job->rhs.n + n0;
  lt_winograd_output t = {.m = m,
                          .stride = job->m_stride,
                          .channels = columns,
                          .bias = c->bias ? (const float *)c->bias + channel : 0,
                          .row = c->ow * c->ldy,
                          .col = c->ldy,
                          .residual_row = c->ow * c->ldr,
                          .residual_col = c->ldr,
                          .lo = job->epilogue.lo,
                          .hi = job->epilogue.hi};
  const int64_t end = first_tile(job, block + 1);
  for (int64_t tile = first_tile(job, block); tile < end; tile++, t.m += job->ldm) {
    const int64_t n = tile / job->image, place = tile % job->image;
    const int64_t oy = place / job->across * job->tile, ox = place % job->across * job->tile;
    const int64_t pixel = (n * c->oh + oy) * c->ow + ox;
    t.y = (float *)c->y + pixel * c->ldy + channel;
    t.residual = c->residual ? (const float *)c->residual + pixel * c->ldr + channel : 0;
    t.rows = min64(job->tile, c->oh - oy);
    t.cols = min64(job->tile, c->ow - ox);
    job->transforms.output(&t);
    if (!job->epilogue.memory) continue;
    for (int64_t i = 0; i < t.rows; i++)
      job->epilogue.memory(t.y + i * t.row, t.cols, columns, c->ldy, c->act, (float)c->alpha, (float)c->beta);
  }
}

/* Output channels [nb nc, (nb + 1) nc) of a group for the tiles of a block. */
static void multiply(const winograd_job *job, int64_t group, int64_t block, int64_t nb, const float *v, int thread) {
  const int64_t n0 = nb * job->nc, columns = min64(job->nc, job->rhs.n - n0);
  const int64_t place_size = lt_packed_size(job->rhs.lanes, job->icg, job->rhs.n);
  float *m = thread_room(job, thread);
  lt_rhs rhs = job->rhs;
  rhs.n = columns;
  lt_rows rows = {.lda = job->ldv, .ldc = job->ldm};
  rows.rows = first_tile(job, block + 1) - first_tile(job, block);
  for (int64_t place = 0; place < job->places; place++) {
    rhs.w = (const float *)job->c->w + (group * job->places + place) * place_size + n0 * job->icg;
    rows.a = v + place * job->v_stride;
    rows.c = m + place * job->m_stride;
    lt_gemm_block(&rhs, &rows, 0, columns, 0, job->icg);
  }
  transform_outputs(job, group, block, n0, columns, m);
}

static float *v_room(const winograd_job *job, int64_t index) { return (float *)job->c->work + index * job->v_room; }

static void block_task(void *context, int64_t index, int thread) {
  const winograd_job *job = context;
  const int64_t group = index / job->blocks, block = index % job->blocks;
  float *v = v_room(job, thread);
  transform_inputs(job, group, block, v, thread);
  for (int64_t nb = 0; nb < job->n_blocks; nb++) multiply(job, group, block, nb, v, thread);
}

static void input_task(void *context, int64_t index, int thread) {
  const winograd_job *job = context;
  transform_inputs(job, index / job->blocks, index % job->blocks, v_room(job, index), thread);
}

static void columns_task(void *context, int64_t index, int thread) {
  const winograd_job *job = context;
  const int64_t block = index % job->blocks, nb = index / job->blocks % job->n_blocks;
  const int64_t group = index / job->blocks / job->n_blocks;
  multiply(job, group, block, nb, v_room(job, group * job->blocks + block), thread);
}

int lt_winograd_run(const lt_conv2d_args *c) {
  winograd_job job;
  int status = winograd_plan(c, &job);
  if (!status) status = lt_rhs_check(&job.rhs);
  if (status) return status;
  if (c->n == 0) return LT_OK;
  if (!c->x || !c->w || !c->y) return LT_BAD_ARGUMENT;
  if (!c->work) return LT_NO_WORKSPACE;
  const int64_t count = c->groups * job.blocks;
  if (c->split_n) {
    lt_parallel_for(job.threads, count, input_task, &job);
    lt_parallel_for(job.threads, count * job.n_blocks, columns_task, &job);
  } else {
    lt_parallel_for(job.threads, count, block_task, &job);
  }
  return LT_OK;
}
