/* Base64: see base64.h. OpenSSL does the work, but lets pass what is none. */
#include "kms/base64.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

/* OpenSSL counts in int. */
#define PIECE_SIZE   (3u * 4096)
#define PIECE_LENGTH (4u * 4096)

void base64_encode(const uint8_t *bytes, size_t size, char *ret)
{
    *ret = '\0';
    while (size > 0) {
        size_t piece = size < PIECE_SIZE ? size : PIECE_SIZE;
        ret += EVP_EncodeBlock((unsigned char *)ret, bytes, (int)piece);
        bytes += piece;
        size -= piece;
    }
}

static bool is_digit(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

static size_t count_padding(const char *text, size_t length)
{
    if (length == 0 || text[length - 1] != '=') {
        return 0;
    }
    return text[length - 2] == '=' ? 2 : 1;
}

int base64_decode(const char *text, size_t length, uint8_t *ret, size_t *ret_size)
{
    size_t padding, size = 0;
    int n = 0;
    if (length % 4 != 0) {
        return -EINVAL;
    }
    padding = count_padding(text, length);
    for (size_t i = 0; i < length - padding; i++) {
        if (!is_digit(text[i])) {
            return -EINVAL;
        }
    }
    for (size_t at = 0; at < length && n >= 0; at += PIECE_LENGTH) {
        size_t piece = length - at < PIECE_LENGTH ? length - at : PIECE_LENGTH;
        n = EVP_DecodeBlock(ret + size, (const unsigned char *)text + at, (int)piece);
        size += (size_t)n;
    }
    *ret_size = size - padding;
    return n < 0 ? -EINVAL : 0;
}
