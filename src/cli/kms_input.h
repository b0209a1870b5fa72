/* Bytes from a command line: @FILE or - (standard input), or base64 in its place. None of them are secret. */
#ifndef POSTERN_CLI_KMS_INPUT_H
#define POSTERN_CLI_KMS_INPUT_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `text` as above; what a file has is base64 as well if `in_base64`, with blanks and line ends anywhere. 1 to `max` bytes, malloc()ed.
 * -EINVAL: not base64, or empty; -E2BIG; -ENOMEM; or why the file cannot be read. */
int kms_input_read(const char *text, bool in_base64, size_t max, uint8_t **ret, size_t *ret_size,
                   struct error *err) MUST_CHECK;

#endif
