/* What the driver of BINARY hands to its bodies. */
#ifndef LT_BINARY_H
#define LT_BINARY_H

#include "tensor/nest.h"

enum { LT_BINARY_A, LT_BINARY_B, LT_BINARY_Y }; /* the arrays of the nest */

typedef struct {
  lt_nest nest;
  int64_t op, act;
  float alpha, beta;
  const float *a, *b;
  void *y; /* uint8_t where op compares */
} lt_binary_job;

#endif
