/* Bytes as JSON carries them: base64 (RFC 4648, 4), strictly, and hexadecimal. */
#ifndef POSTERN_SIM_BYTES_H
#define POSTERN_SIM_BYTES_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_bytes {
    uint8_t *data; /* owned; NULL: there are none */
    size_t size;
};

/* Wipes them, too. */
void sim_bytes_release(struct sim_bytes *bytes);

/* Padded, without blanks or line breaks. 0, -EINVAL: it is none, or -ENOMEM. */
int sim_base64_decode(const char *text, size_t size, struct sim_bytes *ret) MUST_CHECK;

/* Owned by the caller (free()); NULL: out of memory. */
char *sim_base64(const void *data, size_t size) MUST_CHECK;

/* Of exactly `size` bytes, in either case. */
bool sim_hex_decode(const char *text, uint8_t *data, size_t size) MUST_CHECK;

/* In lower case; `text` has room for 2 * size + 1. */
void sim_hex(const uint8_t *data, size_t size, char *text);

#endif
