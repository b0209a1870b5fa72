/* CBOR, appended to bytes that grow: heads by libcbor's encoders. What fails is noted in the text. */
#ifndef POSTERN_SIM_CBOR_H
#define POSTERN_SIM_CBOR_H

#include "base/text.h"
#include <stdbool.h>
#include <stdint.h>

#define SIM_CBOR_OPEN SIZE_MAX /* as a count of entries: of indefinite length, ended by sim_cbor_end() */

void sim_cbor_uint(struct text *out, uint64_t value);
void sim_cbor_ms(struct text *out, uint64_t value); /* in eight bytes, as an NSM writes its time */
void sim_cbor_negative(struct text *out, int value);
void sim_cbor_text(struct text *out, const char *value);
void sim_cbor_bytes(struct text *out, const void *data, size_t size);
void sim_cbor_map(struct text *out, size_t entries);
void sim_cbor_array(struct text *out, size_t entries);
void sim_cbor_end(struct text *out);
void sim_cbor_bool(struct text *out, bool value);
void sim_cbor_null(struct text *out);

#endif
