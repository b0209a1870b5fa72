/* The connection functions of include/postern/postern.h. */
#include "postern/postern.h"
#include "client/connection.h"

const char *postern_version(void)
{
    return POSTERN_VERSION;
}

const char *postern_code_word(uint32_t code)
{
    return code_word(code);
}
