#define LT_QDW_ISA avx2
#define LT_QDW_GROUP 2
#define qdw_dot(acc, x, w) _mm256_add_epi32(acc, _mm256_madd_epi16(x, w))
#include "quant/qdwtile_x86.body.h"
