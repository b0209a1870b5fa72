/* Any bytes as an enclave image: refused with a text, or measured. */
#include "attest/eif.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eif eif;
    struct error err = ERROR_INIT;

    if (size == 0) {
        return 0; /* which fmemopen() refuses */
    }
    FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
    if (!in) {
        abort();
    }
    int rv = eif_measure(in, &eif, &err);
    fclose(in);
    if ((rv == 0 && eif.ramdisks == 0) || (rv < 0 && err.text[0] == '\0')) {
        abort();
    }
    return 0;
}
