/* One level of Strassen's algorithm in Winograd's form, for a constant right-hand side: seven products of half the size
 * instead of eight (S. Winograd, "On multiplication of 2x2 matrices", Linear Algebra Appl. 4 (1971)). The sums of the
 * weights are made when they are packed, see `pack_weights`. */
#ifndef LT_STRASSEN_H
#define LT_STRASSEN_H

#include "gemm.h"

/* Whether K and N split into halves. */
int lt_strassen_fits(const lt_rhs *rhs);

/* Floats of scratch for blocks of so many rows. */
int64_t lt_strassen_floats(const lt_rhs *rhs, int64_t rows);

/* All columns of `rows`, without segments and `from`; rhs->w holds the seven parts. */
void lt_strassen_block(const lt_rhs *rhs, const lt_rows *rows, float *room);

#endif
