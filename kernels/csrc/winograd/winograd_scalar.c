#define LT_SIMD_SCALAR
#include "../simd/simd.h"
#include "winograd.body.h"
