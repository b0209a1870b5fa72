/* Hex: see hex.h. */
#include "ctl/hex.h"

#include <openssl/crypto.h>

const char *hex_write(const uint8_t *data, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * size] = '\0';
    return text;
}

bool hex_read(const char *text, uint8_t *data, size_t room, size_t *ret_size)
{
    *ret_size = 0;
    return *text == '\0' || OPENSSL_hexstr2buf_ex(data, room, ret_size, text, '\0') == 1;
}
