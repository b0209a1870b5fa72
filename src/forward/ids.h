/*
 * Request ids: 128 random bits each, in hex. Unique over requests, workers and restarts, for as long as anybody may look for
 * one; and they tell an enclave nothing: not how many requests others send, nor which worker it is with.
 */
#ifndef POSTERN_FORWARD_IDS_H
#define POSTERN_FORWARD_IDS_H

#include "base/compiler.h"
#include <stdint.h>

#define FORWARD_ID_SIZE 33 /* with its end */

/* A worker has one of these. */
struct forward_ids {
    uint64_t pool[32]; /* two an id; as much as the kernel gives in one go, once its generator is seeded */
    unsigned used;
};

/* 0, or a negative errno value: there is no randomness. */
int forward_ids_init(struct forward_ids *ids) MUST_CHECK;

void forward_ids_next(struct forward_ids *ids, char ret[FORWARD_ID_SIZE]);

#endif
