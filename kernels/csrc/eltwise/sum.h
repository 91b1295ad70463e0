/* Sums of a contiguous run, precise enough to be added up in double. Include after a SIMD choice. */
#ifndef LT_SUM_H
#define LT_SUM_H

#include "simd/simd_math.h"

/* Elements that are summed in float: each of the four accumulators takes 16. */
#define SUM_BLOCK (64 * LT_VL)

enum { SUM_OF_X, SUM_OF_ABS, SUM_OF_SQUARES };

LT_INLINE vf summand(vf x, vf shift, int64_t op) {
  if (op == SUM_OF_ABS) return vf_abs(x);
  if (op == SUM_OF_SQUARES) return vf_mul(vf_sub(x, shift), vf_sub(x, shift));
  return x;
}

/* The sum over n <= SUM_BLOCK elements of x, |x| or (x - shift)^2; `op` is a constant. */
LT_INLINE double block_sum(const float *x, int64_t n, int64_t op, float shift) {
  vf sum[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
  const vf s = vf_set1(shift);
  int64_t i = 0;
  for (; i + 4 * LT_VL <= n; i += 4 * LT_VL)
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) sum[k] = vf_add(sum[k], summand(vf_load(x + i + k * LT_VL), s, op));
  for (; i + LT_VL <= n; i += LT_VL) sum[0] = vf_add(sum[0], summand(vf_load(x + i), s, op));
  double rest = 0;
  for (; i < n; i++) {
    const float v = op == SUM_OF_SQUARES ? x[i] - shift : x[i];
    rest += op == SUM_OF_SQUARES ? v * v : op == SUM_OF_ABS ? fabsf(v) : v;
  }
  return rest + vf_hsum(vf_add(vf_add(sum[0], sum[1]), vf_add(sum[2], sum[3])));
}

#endif
