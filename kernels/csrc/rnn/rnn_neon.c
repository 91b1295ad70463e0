#define LT_SIMD_NEON
#include "simd/simd.h"

#include "rnn/lstm.body.h"
