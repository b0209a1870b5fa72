/*
 * The ClientHello reader, fed in one piece and in pieces that the input's last byte chooses: both readings
 * must be the same, and a name must be one the header promises.
 */
#include "relay/hello.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(int good)
{
    if (!good) {
        abort();
    }
}

static void check_name(const char *name)
{
    need(name[0] != '\0' && name[strlen(name) - 1] != '.');
    for (; *name != '\0'; name++) {
        need(*name > ' ' && *name < 0x7f && !(*name >= 'A' && *name <= 'Z'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hello whole, pieces;
    hello_init(&whole);
    hello_init(&pieces);
    hello_feed(&whole, data, size);
    size_t piece = size > 0 ? 1u + data[size - 1] % 64u : 1;
    for (size_t at = 0; at < size; at += piece) {
        hello_feed(&pieces, data + at, size - at < piece ? size - at : piece);
        need(pieces.message_capacity <= HELLO_MESSAGE_MAX && pieces.wire_length <= HELLO_WIRE_MAX + 1);
    }
    need(whole.state == pieces.state);
    if (whole.state == HELLO_NAME || whole.state == HELLO_NO_NAME) {
        need(whole.wire_length == pieces.wire_length);
    }
    if (whole.state == HELLO_NAME) {
        need(strcmp(whole.name, pieces.name) == 0);
        check_name(whole.name);
    }
    hello_release(&whole);
    hello_release(&pieces);
    return 0;
}
