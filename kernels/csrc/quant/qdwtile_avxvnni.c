#define LT_QDW_ISA avxvnni
#define LT_QDW_GROUP 4
#define qdw_dot(acc, x, w) _mm256_dpbusd_epi32(acc, x, w)
#include "quant/qdwtile_x86.body.h"
