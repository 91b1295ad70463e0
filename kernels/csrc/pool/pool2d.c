#include "pool/pool2d.h"

#include "quant/types.h"

LT_PARTS(lt_pool2d);
LT_PARTS(lt_pool2d_bytes);

/* Bounds windows, strides, paddings and dilations, so that coordinates do not overflow. */
#define MAX_STEP ((int64_t)1 << 20)

static int64_t element_size(const lt_pool2d_args *a) { return a->type == LT_F32 ? (int64_t)sizeof(float) : 1; }

static int is_quantised(const lt_pool2d_args *a) {
  if (!lt_is_byte(a->type) || !lt_in_type(a->x_zero, a->type) || !lt_in_type(a->y_zero, a->type)) return 0;
  return a->mode == LT_POOL_MAX || (lt_is_scale(a->x_scale) && lt_is_scale(a->y_scale));
}

/* Whether the sizes are; pointers may still be missing. */
static int is_valid(const lt_pool2d_args *a) {
  const int64_t steps[] = {a->kh, a->kw, a->sh, a->sw, a->dh, a->dw}, pads[] = {a->pt, a->pl, a->pb, a->pr};
  const int64_t in_dims[] = {a->n, a->ih, a->iw, a->ldx}, out_dims[] = {a->n, a->oh, a->ow, a->ldy};
  const int64_t mid_dims[] = {a->ih, a->ow, a->c, sizeof(float)};
  for (int i = 0; i < 6; i++)
    if (steps[i] < 1 || steps[i] > MAX_STEP) return 0;
  for (int i = 0; i < 4; i++)
    if (pads[i] < 0 || pads[i] > MAX_STEP) return 0;
  if (a->type != LT_F32 && !is_quantised(a)) return 0;
  if (a->mode < 0 || a->mode >= LT_POOL_COUNT || a->c < 0 || a->ldx < a->c || a->ldy < a->c) return 0;
  return lt_product(in_dims, 4) >= 0 && lt_product(out_dims, 4) >= 0 && lt_product(mid_dims, 4) >= 0;
}

/* Whether a maximum along rows and then along columns reads much less than the window as a whole. */
static int is_separable(const lt_pool2d_args *a) {
  if (a->mode != LT_POOL_MAX) return 0;
  const double whole = (double)a->oh * (double)(a->kh * a->kw);
  const double apart = (double)a->ih * (double)a->kw + (double)a->oh * (double)a->kh;
  return 2 * apart < whole;
}

static void run_whole(const lt_pool2d_args *a) {
  lt_part_fn *part = a->type == LT_F32 ? lt_pool2d_parts[a->isa] : lt_pool2d_bytes_parts[a->isa];
  lt_split(a->threads, a->n * a->oh, a->ow * a->c * (a->kh + a->kw), part, (void *)a);
}

/* One image: `work` receives the maxima along its rows. */
static void run_apart(const lt_pool2d_args *a, int64_t image) {
  lt_pool2d_args along_rows = *a, along_columns = *a;
  along_rows.n = along_columns.n = 1;
  along_rows.x = (char *)a->x + image * a->ih * a->iw * a->ldx * element_size(a);
  along_rows.y = along_columns.x = a->work;
  along_rows.oh = a->ih;
  along_rows.kh = along_rows.sh = along_rows.dh = 1;
  along_rows.pt = along_rows.pb = 0;
  along_rows.ldy = along_columns.ldx = a->c;
  along_columns.iw = a->ow;
  along_columns.kw = along_columns.sw = along_columns.dw = 1;
  along_columns.pl = along_columns.pr = 0;
  along_columns.y = (char *)a->y + image * a->oh * a->ow * a->ldy * element_size(a);
  run_whole(&along_rows);
  run_whole(&along_columns);
}

int64_t lt_pool2d_work(const void *args) {
  const lt_pool2d_args *a = args;
  return is_valid(a) && is_separable(a) ? a->ih * a->ow * a->c * element_size(a) : 0;
}

int lt_pool2d_run(const void *args) {
  const lt_pool2d_args *a = args;
  if (!is_valid(a)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (a->n * a->oh * a->ow * a->c == 0) return LT_OK;
  if (!a->x || !a->y) return LT_BAD_ARGUMENT;
  if (!is_separable(a)) {
    run_whole(a);
    return LT_OK;
  }
  if (lt_pool2d_work(a) > 0 && !a->work) return LT_NO_WORKSPACE;
  for (int64_t i = 0; i < a->n; i++) run_apart(a, i);
  return LT_OK;
}
