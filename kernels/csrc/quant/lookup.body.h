/* y = table[x]. The first version of a row of bytes is plain: compilers do not vectorise it. */
#include "quant/lookup.h"
#include "simd/simd.h"

void LT_FN(lt_lookup_row)(const uint8_t *x, const uint8_t *table, uint8_t *y, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] = table[x[i]];
}
