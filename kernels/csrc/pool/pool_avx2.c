#define LT_SIMD_AVX2
#include "simd/simd.h"

#include "pool/pool2d.body.h"
