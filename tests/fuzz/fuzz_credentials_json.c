/* The answers of the endpoints for credentials: keys that are fit for a header, or an error. */
#include "aws/credentials_json.h"
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
    int rv = credentials_json_parse(size > 0 ? (const char *)data : "", size, 1767225600, &keys, &err);
    if (rv != 0) {
        if (err.text[0] == '\0' || strchr(err.text, '\n') != NULL || keys.access_key_id != NULL) {
            abort();
        }
        return 0;
    }
    check_text(keys.access_key_id);
    check_text(keys.secret_access_key);
    check_text(keys.session_token != NULL ? keys.session_token : "");
    if (keys.expires <= 0) {
        abort();
    }
    credentials_keys_release(&keys);
    return 0;
}
