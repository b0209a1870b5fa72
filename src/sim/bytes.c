/* Bytes in texts: see bytes.h. */
#include "sim/bytes.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

void sim_bytes_release(struct sim_bytes *bytes)
{
    if (bytes->data) {
        OPENSSL_cleanse(bytes->data, bytes->size);
    }
    free(bytes->data);
    *bytes = (struct sim_bytes){.data = NULL};
}

#define ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static size_t count_padding(const char *text, size_t size)
{
    size_t padding = 0;

    while (padding < 2 && padding < size && text[size - 1 - padding] == '=') {
        padding++;
    }
    return padding;
}

/* EVP_DecodeBlock() alone lets blanks and line ends pass. */
static bool is_base64(const char *text, size_t size)
{
    if (size % 4 != 0 || size > INT_MAX) {
        return false;
    }
    size -= count_padding(text, size);
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\0' || !strchr(ALPHABET, text[i])) {
            return false;
        }
    }
    return true;
}

int sim_base64_decode(const char *text, size_t size, struct sim_bytes *ret)
{
    *ret = (struct sim_bytes){.data = NULL};
    if (!is_base64(text, size)) {
        return -EINVAL;
    }
    ret->data = malloc(size / 4 * 3 + 1);
    if (!ret->data) {
        return -ENOMEM;
    }
    if (size > 0) {
        EVP_DecodeBlock(ret->data, (const unsigned char *)text, (int)size);
    }
    ret->size = size / 4 * 3 - count_padding(text, size);
    return 0;
}

char *sim_base64(const void *data, size_t size)
{
    char *text = malloc((size + 2) / 3 * 4 + 1);

    if (text) {
        text[0] = '\0';
        EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    }
    return text;
}

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c);

    return at ? (int)(at - digits) : -1;
}

bool sim_hex_decode(const char *text, uint8_t *data, size_t size)
{
    if (strlen(text) != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        data[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void sim_hex(const uint8_t *data, size_t size, char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[data[i] >> 4];
        text[2 * i + 1] = digits[data[i] & 15];
    }
    text[2 * size] = '\0';
}
