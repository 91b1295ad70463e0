#define LT_SIMD_NEON
#include "simd/simd.h"

#include "pool/pool2d.body.h"
