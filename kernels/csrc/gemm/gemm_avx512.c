#define LT_SIMD_AVX512
#include "../simd/simd.h"
#include "../simd/simd_math.h"
#include "gemm.body.h"
#include "rows.body.h"
