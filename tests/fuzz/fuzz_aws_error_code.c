/* What refuses a signed request: a word for the log, or none. The first line is the header's value. */
#include "aws/error_code.h"
#include <ctype.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size > 0 ? (const char *)data : "";
    const char *line = memchr(text, '\n', size);
    size_t length = line != NULL ? (size_t)(line - text) : 0;
    size_t body = line != NULL ? length + 1 : 0;
    char code[AWS_ERROR_CODE_MAX + 1];
    aws_error_code_read((struct http_span){.data = text, .size = length}, text + body, size - body, code);
    if (memchr(code, '\0', sizeof code) == NULL) {
        abort();
    }
    for (const char *at = code; *at != '\0'; at++) {
        if (!isalnum((unsigned char)*at) && strchr("._-", *at) == NULL) {
            abort();
        }
    }
    (void)aws_error_kind(code);
    return 0;
}
