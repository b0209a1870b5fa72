/* What bench_cost's files share: an input, and the parsers that are of the enclave's side and of sessions (cost_enclave.c). */
#ifndef POSTERN_BENCH_COST_H
#define POSTERN_BENCH_COST_H

#include <stddef.h>

struct input {
    const char *data;
    size_t size;
    size_t piece; /* bytes that are given at a time */
};

void take_document(const struct input *input);
void take_nsm_document(const struct input *input);
void take_nsm_description(const struct input *input);
void take_kms_answer(const struct input *input);
void take_sdk_request(const struct input *input);
void take_sealed_header(const struct input *input);
void feed_session(const struct input *input);

#endif
