#include "peak.h"

#include "clock.h"
#include "cpu.h"
#include "luthier/lt_ops.h"

int64_t lt_peak_scalar(int64_t rounds, float *sink);
int64_t lt_peak_avx2(int64_t rounds, float *sink);
int64_t lt_peak_avx512(int64_t rounds, float *sink);
int64_t lt_peak_neon(int64_t rounds, float *sink);

static const lt_peak_fn peaks[LT_ISA_COUNT] = LT_ISA_TABLE(lt_peak);

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
