/* Multiply-adds on registers alone: what the FMA units can do. */
#ifndef LT_PEAK_BODY_H
#define LT_PEAK_BODY_H

#include "peak.h"

#define CHAINS 12 /* enough to hide the latency of fma, few enough for 16 registers */

int64_t LT_FN(lt_peak)(int64_t rounds, float *sink) {
  vf acc[CHAINS];
  const vf a = vf_set1(sink[0]), b = vf_set1(sink[1]);
#pragma GCC unroll 12
  for (int i = 0; i < CHAINS; i++) acc[i] = vf_set1((float)i);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) acc[i] = vf_fma(acc[i], a, b);
  }
  vf sum = vf_zero();
#pragma GCC unroll 12
  for (int i = 0; i < CHAINS; i++) sum = vf_add(sum, acc[i]);
  sink[2] = vf_hsum(sum);
  return rounds * CHAINS * LT_VL * 2;
}

#endif
