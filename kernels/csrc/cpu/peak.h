/* The machine's own limit, measured: the roof that kernels are compared with. */
#ifndef LT_PEAK_H
#define LT_PEAK_H

#include <stdint.h>

/* Floating-point operations done by `rounds` rounds of multiply-adds on registers; sink has three floats. */
typedef int64_t (*lt_peak_fn)(int64_t rounds, float *sink);

/* Floating-point operations a second of one thread, the best of several runs; 0 if the ISA cannot run. */
double lt_peak_flops(int64_t isa);

/* Reads n floats, and copies them to y unless it is NULL; a tail is left out. Returns the sum of what is only read. */
typedef float (*lt_stream_fn)(const float *x, float *y, int64_t n);

/* Bytes a second that one thread reads of n floats, or reads and writes if it copies their first half over the second,
   whichever is more; the best of several runs. 0 if the ISA cannot run. */
double lt_bandwidth(int64_t isa, float *x, int64_t n);

/* Operations a second on bytes (or on 16-bit integers, where bytes are multiplied as such), a multiply-add counted as
 * two; 0 if the kernels of the ISA cannot run. */
double lt_peak_int8(int64_t isa);

#endif
