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
