/* Base64 as KMS writes it (RFC 4648, section 4): with padding, without anything else. */
#ifndef POSTERN_KMS_BASE64_H
#define POSTERN_KMS_BASE64_H

#include "base/compiler.h"
#include <stddef.h>
#include <stdint.h>

/* What `size` bytes become, without a terminator; and what is enough room for what `length` characters become. */
#define BASE64_LENGTH(size) (((size) + 2) / 3 * 4)
#define BASE64_ROOM(length) ((length) / 4 * 3)

/* Writes BASE64_LENGTH(size) characters and a terminator. */
void base64_encode(const uint8_t *bytes, size_t size, char *ret);

/* Writes to `ret`, which has BASE64_ROOM(length) bytes. 0, or -EINVAL: it is not base64; then the bytes mean nothing. */
int base64_decode(const char *text, size_t length, uint8_t *ret, size_t *ret_size) MUST_CHECK;

#endif
