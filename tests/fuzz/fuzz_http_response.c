/* An upstream's answer, to clients of both versions: splits do not matter, and what is passed on reads the same. */
#include "forward.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const struct text *a, const struct text *b)
{
    return a->length == b->length && memcmp(text_string(a), text_string(b), a->length) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct forwarded whole, split;
    struct text meaning = TEXT_INIT;
    if (size < 3) {
        return 0;
    }
    bool old = (data[1] & 1) != 0;
    struct forward_answer how = {
        .limits = {.head = {.bytes = 1024, .target = 0, .fields = 16}, .body = 4096, .interim = 3},
        .client = {.chunked = !old, .keep_alive = !old},
        .head_only = (data[1] & 2) != 0,
        .unclean = (data[1] & 4) != 0,
    };
    const char *bytes = (const char *)data + 2;
    forward_response(&whole, &how, bytes, size - 2, size);
    forward_response(&split, &how, bytes, size - 2, (size_t)data[0] + 1);
    if (split.why != whole.why || split.whole != whole.whole || split.used != whole.used ||
        !same(&split.meaning, &whole.meaning)) {
        abort();
    }
    if (whole.whole == 1 &&
        (!forward_reread(true, how.head_only, &whole.wire, &meaning) || !same(&meaning, &whole.meaning))) {
        abort();
    }
    text_release(&meaning);
    forwarded_release(&whole);
    forwarded_release(&split);
    return 0;
}
