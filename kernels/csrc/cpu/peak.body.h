/* Multiply-adds on registers alone: what the FMA units can do; and streams: what caches and memory can. */
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

#define STREAMS 8 /* sums at once: enough to hide the latency of an addition */

float LT_FN(lt_stream)(const float *x, float *y, int64_t n) {
  const int64_t block = STREAMS * LT_VL;
  vf acc[STREAMS];
#pragma GCC unroll 8
  for (int i = 0; i < STREAMS; i++) acc[i] = vf_zero();
  for (int64_t at = 0; at + block <= n; at += block) {
    if (y) {
#pragma GCC unroll 8
      for (int i = 0; i < STREAMS; i++) vf_store(y + at + i * LT_VL, vf_load(x + at + i * LT_VL));
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < STREAMS; i++) acc[i] = vf_add(acc[i], vf_load(x + at + i * LT_VL));
    }
  }
  vf sum = vf_zero();
#pragma GCC unroll 8
  for (int i = 0; i < STREAMS; i++) sum = vf_add(sum, acc[i]);
  return vf_hsum(sum);
}

#endif
