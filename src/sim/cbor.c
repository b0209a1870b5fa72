/* CBOR, appended: see cbor.h. */
#include "sim/cbor.h"

#include <cbor.h>
#include <string.h>

#define HEAD_MAX 9

void sim_cbor_uint(struct text *out, uint64_t value)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head, cbor_encode_uint(value, head, sizeof head));
}

void sim_cbor_ms(struct text *out, uint64_t value)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head, cbor_encode_uint64(value, head, sizeof head));
}

void sim_cbor_negative(struct text *out, int value)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head, cbor_encode_negint((uint64_t)(-1 - value), head, sizeof head));
}

void sim_cbor_text(struct text *out, const char *value)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head, cbor_encode_string_start(strlen(value), head, sizeof head));
    text_add(out, value);
}

void sim_cbor_bytes(struct text *out, const void *data, size_t size)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head, cbor_encode_bytestring_start(size, head, sizeof head));
    text_add_bytes(out, data, size);
}

void sim_cbor_map(struct text *out, size_t entries)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head,
                   entries == SIM_CBOR_OPEN ? cbor_encode_indef_map_start(head, sizeof head)
                                            : cbor_encode_map_start(entries, head, sizeof head));
}

void sim_cbor_array(struct text *out, size_t entries)
{
    unsigned char head[HEAD_MAX];

    text_add_bytes(out, head,
                   entries == SIM_CBOR_OPEN ? cbor_encode_indef_array_start(head, sizeof head)
                                            : cbor_encode_array_start(entries, head, sizeof head));
}

void sim_cbor_end(struct text *out)
{
    text_add_char(out, (char)0xff);
}

void sim_cbor_bool(struct text *out, bool value)
{
    text_add_char(out, (char)(value ? 0xf5 : 0xf4));
}

void sim_cbor_null(struct text *out)
{
    text_add_char(out, (char)0xf6);
}
