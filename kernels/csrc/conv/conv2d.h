/* What the algorithms of conv2d share across files. */
#ifndef LT_CONV2D_H
#define LT_CONV2D_H

#include "../gemm/gemm.h"
#include "luthier/lt_ops.h"

/* Check every size, and fill `rhs` for a product over the channels of a group; returns a status. The weights and the
 * bias are left to the caller. */
int lt_conv2d_prepare(const lt_conv2d_args *c, lt_rhs *rhs);

/* The Winograd algorithms of conv2d (../winograd); the arguments are those of lt_conv2d_run and lt_conv2d_work. */
int lt_winograd_run(const lt_conv2d_args *c);
int64_t lt_winograd_work(const lt_conv2d_args *c);

#endif
