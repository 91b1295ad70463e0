/* SHA-256 (FIPS 180-4). */
#ifndef LT_SHA256_H
#define LT_SHA256_H

#include <stddef.h>
#include <stdint.h>

void lt_sha256(const uint8_t *data, size_t size, uint8_t digest[32]);

#endif
