/* Elements of 1, 2, 4 or 8 bytes whose type does not matter. `size` is a constant wherever these are inlined. */
#ifndef LT_BITS_H
#define LT_BITS_H

#include <stdbool.h>
#include <stdint.h>

#define LT_BITS_INLINE static inline __attribute__((always_inline, unused))

LT_BITS_INLINE bool lt_is_element_size(int64_t size) { return size == 1 || size == 2 || size == 4 || size == 8; }

LT_BITS_INLINE uint64_t lt_load_bits(const void *p, int64_t i, int64_t size) {
  switch (size) {
    case 1: return ((const uint8_t *)p)[i];
    case 2: return ((const uint16_t *)p)[i];
    case 4: return ((const uint32_t *)p)[i];
    default: return ((const uint64_t *)p)[i];
  }
}

LT_BITS_INLINE void lt_store_bits(void *p, int64_t i, int64_t size, uint64_t bits) {
  switch (size) {
    case 1: ((uint8_t *)p)[i] = (uint8_t)bits; break;
    case 2: ((uint16_t *)p)[i] = (uint16_t)bits; break;
    case 4: ((uint32_t *)p)[i] = (uint32_t)bits; break;
    default: ((uint64_t *)p)[i] = bits;
  }
}

#endif
