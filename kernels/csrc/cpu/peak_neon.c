#define LT_SIMD_NEON
#include "../simd/simd.h"
#include "peak.body.h"
