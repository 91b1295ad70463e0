#define LT_SIMD_SCALAR
#include "../simd/simd.h"
#include "peak.body.h"
