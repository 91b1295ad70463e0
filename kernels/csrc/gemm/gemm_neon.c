#define LT_SIMD_NEON
#include "../simd/simd.h"
#include "../simd/simd_math.h"
#include "steps_neon.h"
#include "gemm.body.h"
#include "rows.body.h"
