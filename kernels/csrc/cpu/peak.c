#include "peak.h"

#include <stddef.h>

#include "clock.h"
#include "cpu.h"
#include "luthier/lt_ops.h"

int64_t lt_peak_scalar(int64_t rounds, float *sink);
int64_t lt_peak_avx2(int64_t rounds, float *sink);
int64_t lt_peak_avx512(int64_t rounds, float *sink);
int64_t lt_peak_neon(int64_t rounds, float *sink);

static const lt_peak_fn peaks[LT_ISA_COUNT] = LT_ISA_TABLE(lt_peak);

float lt_stream_scalar(const float *x, float *y, int64_t n);
float lt_stream_avx2(const float *x, float *y, int64_t n);
float lt_stream_avx512(const float *x, float *y, int64_t n);
float lt_stream_neon(const float *x, float *y, int64_t n);

static const lt_stream_fn streams[LT_ISA_COUNT] = LT_ISA_TABLE(lt_stream);

double lt_peak_flops(int64_t isa) {
  if (!lt_isa_available(isa)) return 0.0;
  float sink[3] = {0.5f, 1.0f, 0.0f};
  double best = 0.0;
  for (int run = 0; run < 20; run++) {
    const double begin = lt_now();
    const int64_t flops = peaks[isa](200000, sink);
    const double rate = (double)flops / (lt_now() - begin);
    if (rate > best) best = rate;
  }
  return best;
}

#define STREAMED_BYTES (32 << 20) /* in one run, by repetition: some milliseconds */

double lt_bandwidth(int64_t isa, float *x, int64_t n) {
  if (!lt_isa_available(isa)) return 0.0;
  const int64_t bytes = n * (int64_t)sizeof(float);
  const int64_t repeats = bytes < STREAMED_BYTES ? STREAMED_BYTES / bytes : 1;
  volatile float sink = 0.0f; /* so that sums are not left out */
  double best = 0.0;
  for (int run = 0; run < 14; run++) {
    const double begin = lt_now();
    for (int64_t r = 0; r < repeats; r++) {
      sink = run & 1 ? streams[isa](x, x + n / 2, n / 2) : streams[isa](x, NULL, n);
    }
    const double rate = (double)(bytes * repeats) / (lt_now() - begin);
    if (rate > best) best = rate;
  }
  (void)sink;
  return best;
}

typedef int64_t int8_peak_fn(int64_t rounds, uint8_t *data);
int8_peak_fn lt_int8_peak_scalar, lt_int8_peak_avx2, lt_int8_peak_avx512, lt_int8_peak_neon, lt_int8_peak_avxvnni,
    lt_int8_peak_avx512vnni, lt_int8_peak_neonmull, lt_int8_peak_neondot, lt_int8_peak_neoni8mm;

static int8_peak_fn *const int8_peaks[LT_INT8_ISA_COUNT] = LT_INT8_TABLE(lt_int8_peak);

double lt_peak_int8(int64_t isa) {
  if (!lt_int8_isa_available(isa)) return 0.0;
  uint8_t data[1024] = {1, 2, 3};
  double best = 0.0;
  for (int run = 0; run < 20; run++) {
    const double begin = lt_now();
    const int64_t operations = int8_peaks[isa](200000, data);
    const double rate = (double)operations / (lt_now() - begin);
    if (rate > best) best = rate;
  }
  return best;
}
