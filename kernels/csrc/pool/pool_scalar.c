#define LT_SIMD_SCALAR
#include "simd/simd.h"

#include "pool/pool2d.body.h"
