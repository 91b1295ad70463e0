#define LT_SIMD_AVX512
#include "simd/simd.h"

#include "pool/pool2d.body.h"
