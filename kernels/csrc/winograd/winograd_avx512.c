#define LT_SIMD_AVX512
#include "../simd/simd.h"
#include "winograd.body.h"
