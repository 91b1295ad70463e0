/* What the driver of LSTM hands to its bodies. */
#ifndef LT_LSTM_H
#define LT_LSTM_H

#include "cpu/split.h"

/* The gates of one step, (batch, 4 hidden), and where its state goes. */
typedef struct {
  int64_t batch, hidden;
  const float *gates;
  float *h, *c; /* (batch, hidden); c holds the state of the step before */
} lt_lstm_step;

#endif
