/* A session in the role of the client: session_script.h. */
#include "session_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    session_script(SESSION_CLIENT, data, size);
    return 0;
}
