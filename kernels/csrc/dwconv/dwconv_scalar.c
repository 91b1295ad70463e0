#define LT_SIMD_SCALAR
#include "../simd/simd.h"
#include "dwconv.body.h"
