#define LT_SIMD_NEON
#include "../simd/simd.h"
#include "dwconv.body.h"
