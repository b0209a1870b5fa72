/* Any bytes as KMS's answer for a recipient: refused in the words that all refusals have, or a secret within bounds. */
#include "attest/recipient.h"

#include <stdbool.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct recipient *recipient;

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct recipient_secret secret = {.data = NULL};
    struct error err = ERROR_INIT;

    if (!recipient) {
        require(recipient_new(&recipient, &err) == 0);
    }
    if (recipient_open(recipient, data, size, &secret, &err) == 0) {
        require(secret.data && secret.size > 0 && secret.size < RECIPIENT_CMS_MAX);
        recipient_wipe(&secret);
    } else {
        require(!secret.data && err.text[0] != '\0');
    }
    return 0;
}
