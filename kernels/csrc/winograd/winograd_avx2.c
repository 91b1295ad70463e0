#define LT_SIMD_AVX2
#include "../simd/simd.h"
#include "winograd.body.h"
