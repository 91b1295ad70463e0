/* What qgemm and qconv2d share: formats, epilogues, and the blocks of a product. */
#include <stddef.h>
#include <string.h>

#include "../cpu/cpu.h"
#include "../cpu/num.h"
#include "qgemm.h"
#include "sum.h"
#include "types.h"

typedef lt_qgemm_fn (*kernel_lookup)(int64_t mr, int64_t nv, int64_t flip);

#define DECLARE(isa)                                                       \
  lt_qgemm_fn lt_qgemm_kernel_##isa(int64_t mr, int64_t nv, int64_t flip); \
  void lt_qpost_##isa(const lt_qend *end, void *c, int64_t ldc, int64_t rows, int64_t cols);
DECLARE(scalar)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(neon)
DECLARE(avxvnni)
DECLARE(avx512vnni)
DECLARE(neonmull)
DECLARE(neondot)
DECLARE(neoni8mm)
#undef DECLARE

static const kernel_lookup kernels[LT_INT8_ISA_COUNT] = LT_INT8_TABLE(lt_qgemm_kernel);
static const lt_qpost_fn posts[LT_INT8_ISA_COUNT] = LT_INT8_TABLE(lt_qpost);

const lt_qformat *lt_qformat_of(int64_t isa) {
#define LT_QFORMAT(name, lanes, group, inner, size, sign) {lanes, group, inner, size, sign},
  static const lt_qformat formats[LT_INT8_ISA_COUNT] = {LT_QFORMATS(LT_QFORMAT)};
  return isa >= 0 && isa < LT_INT8_ISA_COUNT ? &formats[isa] : 0;
}

lt_qgemm_fn lt_qgemm_kernel(int64_t isa, int64_t mr, int64_t nv, int64_t flip) {
  return lt_int8_isa_available(isa) ? kernels[isa](mr, nv, flip) : 0;
}

int64_t lt_qsize(int64_t y_type) {
  switch (y_type) {
    case LT_U8:
    case LT_I8: return 1;
    case LT_I32:
    case LT_F32: return 4;
    default: return 0;
  }
}

int lt_qrhs_check(const lt_qrhs *rhs) {
  return lt_qgemm_kernel(rhs->isa, rhs->mr, rhs->nv, rhs->flip) ? LT_OK : LT_BAD_VARIANT;
}

int lt_qrhs_prepare(lt_qrhs *rhs, const lt_qslots *s) {
  const int bytes = lt_is_byte(s->y_type);
  if (!lt_is_byte(s->a_type)) return LT_BAD_ARGUMENT;
  if (!s->a_zero_at && !lt_in_type(s->a_zero, s->a_type)) return LT_BAD_ARGUMENT;
  if (!lt_qsize(s->y_type) || (!bytes && (s->residual || s->table))) return LT_BAD_ARGUMENT;
  if (s->y_type != LT_I32 && !s->scale) return LT_BAD_ARGUMENT;
  if (bytes && (!lt_in_type(s->y_zero, s->y_type) || !lt_is_range(s->y_min, s->y_max, s->y_type)))
    return LT_BAD_ARGUMENT;
  if (s->residual && (!lt_in_type(s->r_zero, s->y_type) || !lt_in_type(s->sum_zero, s->y_type) ||
                      !lt_is_range(s->sum_min, s->sum_max, s->y_type)))
    return LT_BAD_ARGUMENT;
  rhs->format = lt_qformat_of(s->isa);
  if (!rhs->format) return LT_BAD_VARIANT;
  rhs->isa = s->isa;
  rhs->mr = s->mr;
  rhs->nv = s->nv;
  rhs->flip = rhs->format->size == 1 && rhs->format->sign != (s->a_type == LT_I8);
  if (s->nv < 1 || s->nv > LT_QGEMM_MAX_NV) return LT_BAD_VARIANT;
  int64_t a_zero = s->a_zero;
  if (s->a_zero_at) a_zero = s->a_type == LT_I8 ? *(const int8_t *)s->a_zero_at : *(const uint8_t *)s->a_zero_at;
  const float y_ratio = (float)s->y_ratio, r_ratio = (float)s->r_ratio;
  rhs->end = (lt_qend){.a_type = s->a_type,
                       .y_type = s->y_type,
                       .a_zero = (int32_t)a_zero,
                       .y_zero = (int32_t)s->y_zero,
                       .y_min = (int32_t)s->y_min,
                       .low = (float)(s->y_min - s->y_zero),
                       .high = (float)(s->y_max - s->y_zero),
                       .r_first = s->r_first,
                       .y_ratio = y_ratio,
                       .r_ratio = r_ratio,
                       .sum_offset = s->r_first ? lt_sum_offset(r_ratio, s->r_zero, y_ratio, s->y_zero, s->sum_zero)
                                                : lt_sum_offset(y_ratio, s->y_zero, r_ratio, s->r_zero, s->sum_zero),
                       .sum_min = (int32_t)s->sum_min,
                       .sum_high = (float)s->sum_max,
                       .a_scale = s->a_scale ? *(const float *)s->a_scale : 1.0f,
                       .bias = s->bias,
                       .scale = s->scale,
                       .fbias = s->fbias,
                       .table = s->table};
  return LT_OK;
}

int64_t lt_qrow_bytes(const lt_qformat *format, int64_t run) { return round_up(run, format->group) * format->size; }

void lt_qcopy_row(const lt_qformat *format, int64_t a_type, void *dst, const uint8_t *src, int64_t count) {
  if (format->size == 1) {
    memcpy(dst, src, (size_t)count);
  } else if (a_type == LT_I8) {
    for (int64_t i = 0; i < count; i++) ((int16_t *)dst)[i] = (int8_t)src[i];
  } else {
    for (int64_t i = 0; i < count; i++) ((int16_t *)dst)[i] = src[i];
  }
}

void lt_qfill_row(const lt_qformat *format, void *dst, int64_t value, int64_t count) {
  if (format->size == 1) {
    memset(dst, (int)value, (size_t)count);
  } else {
    for (int64_t i = 0; i < count; i++) ((int16_t *)dst)[i] = (int16_t)value;
  }
}

/* Bytes of packed weights for each column, its sum in front. */
static int64_t column_bytes(const lt_qformat *format, int64_t nseg, int64_t run) {
  return 4 + nseg * lt_qrow_bytes(format, run);
}

int64_t lt_qpacked_size(const lt_qformat *format, int64_t nseg, int64_t run, int64_t n) {
  return round_up(n, format->lanes) * column_bytes(format, nseg, run);
}

void lt_qgemm_block(const lt_qrhs *rhs, const lt_qrows *rows, int64_t n0, int64_t n1) {
  const lt_qformat *format = rhs->format;
  const lt_qend *end = &rhs->end;
  const int64_t lanes = format->lanes, panel = rhs->nv * lanes, size = lt_qsize(end->y_type);
  const int64_t column = column_bytes(format, rhs->nseg, rhs->run);
  const int64_t tiles = ceil_div(rows->rows, rhs->mr);
  const int64_t low = rows->rows / tiles, more = rows->rows % tiles; /* `more` tiles have one row more */
  const int64_t groups = rhs->run / format->group, rest = rhs->run % format->group;
  const int post = end->y_type == LT_F32 || end->table;
  lt_qtile t = {.seg = rows->seg,
                .lda = rows->lda,
                .nseg = rhs->nseg,
                .groups = groups + (rows->padded && rest > 0),
                .tail_bytes = rows->padded ? 0 : rest * format->size,
                .zero = end->a_zero + (rhs->flip ? (format->sign ? -128 : 128) : 0),
                .end = end,
                .ldr = rows->ldr,
                .ldc = rows->ldc};
  for (int64_t n = n0; n < n1; n += panel) {
    const int64_t cols = min64(panel, rhs->n - n), nv = ceil_div(cols, lanes);
    const lt_qgemm_fn low_fn = kernels[rhs->isa](low, nv, rhs->flip);
    const lt_qgemm_fn more_fn = more ? kernels[rhs->isa](low + 1, nv, rhs->flip) : 0;
    t.b = rhs->w + n * column;
    t.tail = cols - (nv - 1) * lanes;
    t.bias = end->bias ? end->bias + n : 0;
    t.scale = size == 1 ? end->scale + n : 0;
    lt_qend here = *end;
    here.scale = end->scale ? end->scale + n : 0;
    here.fbias = end->fbias ? end->fbias + n : 0;
    for (int64_t i = 0, r = 0; i < tiles; i++) {
      const int64_t count = low + (i < more);
      t.offset = r * rows->lda;
      t.c = rows->c + (r * rows->ldc + n) * size;
      t.residual = rows->residual ? rows->residual + r * rows->ldr + n : 0;
      (i < more ? more_fn : low_fn)(&t);
      if (post) posts[rhs->isa](&here, t.c, rows->ldc, count, cols);
      r += count;
    }
  }
}
