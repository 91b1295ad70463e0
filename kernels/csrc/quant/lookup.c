#include "quant/lookup.h"

#include "cpu/split.h"

lt_lookup_row_fn *const lt_lookup_rows[LT_ISA_COUNT] = LT_ISA_TABLE(lt_lookup_row);

/* Units are bytes of the one row, or else rows. */
static void lookup_part(void *context, int64_t begin, int64_t end) {
  const lt_lookup_args *a = context;
  const uint8_t *x = a->x;
  uint8_t *y = a->y;
  if (a->rows == 1)
    lt_lookup_rows[a->isa](x + begin, a->table, y + begin, end - begin);
  else
    for (int64_t r = begin; r < end; r++) lt_lookup_rows[a->isa](x + r * a->ldx, a->table, y + r * a->ldy, a->cols);
}

int64_t lt_lookup_work(const void *args) {
  (void)args;
  return 0;
}

int lt_lookup_run(const void *args) {
  const lt_lookup_args *a = args;
  if (a->cols < 0 || a->ldx < a->cols || a->ldy < a->cols) return LT_BAD_ARGUMENT;
  if (!LT_FITS(a->rows, a->ldx) || !LT_FITS(a->rows, a->ldy)) return LT_BAD_ARGUMENT;
  if (!lt_isa_available(a->isa)) return LT_BAD_VARIANT;
  if (a->rows == 0 || a->cols == 0) return LT_OK;
  if (!a->x || !a->table || !a->y) return LT_BAD_ARGUMENT;
  if (a->rows == 1)
    lt_split(a->threads, a->cols, 1, lookup_part, (void *)args);
  else
    lt_split(a->threads, a->rows, a->cols, lookup_part, (void *)args);
  return LT_OK;
}
