/* The instance metadata service, version 2, as far as it hands out a role's credentials: to those who have fetched a token. */
#ifndef POSTERN_SIM_METADATA_H
#define POSTERN_SIM_METADATA_H

#include "sim/clock.h"
#include "sim/http.h"
#include "sim/signature.h"

struct sim_metadata {
    const struct sim_credential *credential; /* what it hands out; with a session token; outlives it */
    const struct sim_clock *clock;
    const char *region;
    char token[64];
};

/* Makes the token. 0 or -EIO. */
int sim_metadata_init(struct sim_metadata *metadata) MUST_CHECK;

/* One request: a sim_http_handler whose `arg` is the service. */
void sim_metadata_handle(void *arg, const struct sim_http_exchange *exchange, struct sim_http_answer *answer);

#endif
