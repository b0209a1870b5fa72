/* The shared credentials file: what is taken out of it is fit for a header, and what is refused is told without it. */
#include "aws/credentials_file.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct credentials_keys keys;
    struct error err = ERROR_INIT;
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    int rv = credentials_file_parse(text, size, "default", &keys, &err);
    free(text);
    if (rv != 0) {
        if (err.text[0] == '\0' || keys.access_key_id != NULL) {
            abort();
        }
        return 0;
    }
    check_text(keys.access_key_id);
    check_text(keys.secret_access_key);
    check_text(keys.session_token != NULL ? keys.session_token : "");
    credentials_keys_release(&keys);
    return 0;
}
