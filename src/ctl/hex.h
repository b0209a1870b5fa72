/* Bytes as people read and type them: in hex, lower case. */
#ifndef POSTERN_CTL_HEX_H
#define POSTERN_CTL_HEX_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room in `text` for two characters a byte, and the end. */
const char *hex_write(const uint8_t *data, size_t size, char *text);

/* False: it is not hex, or more than `room` bytes. Upper case is good, too. */
bool hex_read(const char *text, uint8_t *data, size_t room, size_t *ret_size) MUST_CHECK;

#endif
