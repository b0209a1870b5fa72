/* The one nested map of the control frames: OPEN's meta, texts to texts or byte strings. */
#ifndef POSTERN_SESSION_CONTROL_META_H
#define POSTERN_SESSION_CONTROL_META_H

#include "session/control.h"
#include "session/control_reader.h"

/* Where encoded bytes go; `failed` once something did not fit. */
struct control_writer {
    uint8_t *at, *end;
    bool failed;
};

void control_put_uint(struct control_writer *writer, uint64_t value);
void control_put_map(struct control_writer *writer, size_t entries);
void control_put_string(struct control_writer *writer, bool binary, struct control_text string);

/* Written in the order that deterministic encoding asks for, whatever the order of the entries is. */
void control_put_meta(struct control_writer *writer, const struct control_open *open);
bool control_get_meta(struct control_reader *reader, struct control_open *open) MUST_CHECK;

#endif
