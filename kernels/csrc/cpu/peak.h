/* The machine's own limit, measured: the roof that kernels are compared with. */
#ifndef LT_PEAK_H
#define LT_PEAK_H

#include <stdint.h>

/* Floating-point operations done by `rounds` rounds of multiply-adds on registers; sink has three floats. */
typedef int64_t (*lt_peak_fn)(int64_t rounds, float *sink);

/* Floating-point operations a second of one thread, the best of several runs; 0 if the ISA cannot run. */
double lt_peak_flops(int64_t isa);

#endif
