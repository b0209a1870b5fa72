/*
 * Reads lines of hexadecimal digits, each the bytes of one connection, and prints what the forwarder does with each:
 *
 *     WHOLE CUT WORD WIRE     requests forwarded whole; 1 if one was begun and not; the refusal or "-"; what the
 *                             upstream got, in hexadecimal digits, or "-"
 *
 * For tests/smuggling. The route has no rules but sets x-enclave.
 */
#include "forward.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t decode(char *line)
{
    size_t size = 0;
    for (char *at = line; http_is(at[0], HTTP_HEX) && http_is(at[1], HTTP_HEX); at += 2) {
        line[size++] = (char)(http_hex_value(at[0]) << 4 | http_hex_value(at[1]));
    }
    return size;
}

static void print_hex(const struct text *text)
{
    for (size_t i = 0; i < text->length; i++) {
        printf("%02x", (unsigned char)text->data[i]);
    }
    puts(text->length > 0 ? "" : "-");
}

int main(void)
{
    struct http_rules rules;
    struct forwarded forwarded;
    char *line = NULL;
    size_t capacity = 0;
    http_rules_init(&rules);
    if (http_header_rules_add(&rules.headers, HTTP_HEADER_SET, "x-enclave", "${enclave}", NULL) != 0) {
        return 1;
    }
    while (getline(&line, &capacity, stdin) > 0) {
        size_t size = decode(line);
        forward_requests(&forwarded, &rules, line, size, size > 0 ? size : 1);
        const char *word = http_refusal_word(forwarded.why);
        printf("%u %d %s ", forwarded.whole, forwarded.cut, word[0] != '\0' ? word : "-");
        print_hex(&forwarded.wire);
        forwarded_release(&forwarded);
    }
    free(line);
    http_rules_release(&rules);
    return 0;
}
