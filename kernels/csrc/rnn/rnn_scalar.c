#define LT_SIMD_SCALAR
#include "simd/simd.h"

#include "rnn/lstm.body.h"
