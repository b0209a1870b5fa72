/* Any bytes as the NSM's answer: refused with a text, or what is taken out of them is within its bounds. */
#include "nsm/nsm.h"

#include <stdbool.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[NSM_RANDOM_MAX];
    struct error err = ERROR_INIT;
    size_t length = 0;
    uint64_t ms = 0;

    if (size > NSM_RESPONSE_MAX) {
        return 0;
    }
    if (nsm_parse_random(data, size, bytes, &length, &err) == 0) {
        require(length > 0 && length <= sizeof bytes);
    } else {
        require(err.text[0] != '\0');
    }
    if (nsm_parse_time(data, size, &ms, &err) == 0) {
        require(ms > 0);
    }
    return 0;
}
