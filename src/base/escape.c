/* JSON's escapes, one character at a time, for text that grows and for lines that cannot. */
#include "base/escape.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

size_t escape_plain(const char *data, size_t length)
{
    size_t i = 0;

    while (i < length && is_plain((unsigned char)data[i])) {
        i++;
    }
    return i;
}

/* How long a character that starts with `lead` is, and the bits of it that `lead` holds; 0: none
 * starts so. */
static size_t lead_length(unsigned char lead, uint32_t *ret_bits)
{
    if (lead < 0x80) {
        *ret_bits = lead;
        return 1;
    }
    if (lead >= 0xc2 && lead < 0xe0) {
        *ret_bits = lead & 0x1fU;
        return 2;
    }
    if ((lead & 0xf0U) == 0xe0) {
        *ret_bits = lead & 0x0fU;
        return 3;
    }
    if (lead >= 0xf0 && lead < 0xf5) {
        *ret_bits = lead & 0x07U;
        return 4;
    }
    return 0;
}

/* The character at the start of `data` and its length; 0 if the bytes are not UTF-8 (RFC 3629: no
 * overlong forms, no surrogates, nothing past U+10FFFF). */
static size_t decode(const char *data, size_t length, uint32_t *ret_char)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c;
    size_t size = lead_length((unsigned char)data[0], &c);

    if (size == 0 || size > length) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        unsigned char byte = (unsigned char)data[i];

        if ((byte & 0xc0U) != 0x80) {
            return 0;
        }
        c = c << 6 | (byte & 0x3fU);
    }
    if (c < least[size] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
        return 0;
    }
    *ret_char = c;
    return size;
}

/* Characters that a reader does not see, but that change what is seen: controls, line and paragraph
 * separators, and those that turn the direction of writing. */
static bool is_treacherous(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

/* The letter after the backslash for those that have one; 0 for the others. */
static char short_escape(uint32_t c)
{
    static const char from[] = "\"\\\n\r\t\b\f";
    static const char to[] = "\"\\nrtbf";
    const char *at = c > 0 && c < 0x80 ? strchr(from, (int)c) : NULL;

    return (char)(at ? to[at - from] : 0);
}

size_t escape_json(const char *data, size_t length, char out[ESCAPE_MAX], size_t *ret_used)
{
    static const unsigned char replacement[] = {0xef, 0xbf, 0xbd}; /* U+FFFD */
    char digits[ESCAPE_MAX + 1];
    uint32_t c;
    size_t size = decode(data, length, &c);
    char letter;

    if (size == 0) {
        *ret_used = 1;
        memcpy(out, replacement, sizeof(replacement));
        return sizeof(replacement);
    }
    *ret_used = size;
    letter = short_escape(c);
    if (letter) {
        out[0] = '\\';
        out[1] = letter;
        return 2;
    }
    if (is_treacherous(c)) {
        snprintf(digits, sizeof(digits), "\\u%04x", (unsigned)c & 0xffffU);
        memcpy(out, digits, ESCAPE_MAX);
        return ESCAPE_MAX;
    }
    memcpy(out, data, size);
    return size;
}

const char *escape_user(const char *address)
{
    const char *at = strrchr(address, '@');
    bool path = strncmp(address, "unix:", 5) == 0 || strncmp(address, "hybrid:", 7) == 0;

    return at != NULL && !path ? at : address;
}
