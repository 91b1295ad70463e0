#ifndef LT_LRN_H
#define LT_LRN_H

/* Longest window; squares of this many channels at a time are kept on the stack. */
#define LT_LRN_MAX_WINDOW 64
#define LT_LRN_BLOCK 512

#endif
