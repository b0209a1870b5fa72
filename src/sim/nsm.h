/*
 * A software Nitro Security Module: what the device of one enclave answers, request by request, in its words, with documents
 * that are signed under the simulator's root. PCRs 0 to 15 are locked from the beginning, as the hypervisor leaves them.
 *
 * It may be asked by several threads at once.
 */
#ifndef POSTERN_SIM_NSM_H
#define POSTERN_SIM_NSM_H

#include "base/text.h"
#include "sim/chain.h"
#include "sim/clock.h"
#include <pthread.h>
#include <stdbool.h>

#define SIM_PCR        48
#define SIM_PCR_LOCKED 16

struct sim_nsm {
    const struct sim_chain *chain; /* outlives it */
    const struct sim_clock *clock; /* the same */
    char module_id[64];            /* i-0123456789abcdef0-enc0123456789abcdef */
    bool open_map, tagged;         /* shapes of its documents */
    uint8_t pcrs[ATTEST_PCRS][SIM_PCR];
    bool locked[ATTEST_PCRS];

    /* Private. */
    pthread_mutex_t lock; /* over the PCRs and the leaf */
    struct sim_leaf leaf;
};

/* All PCRs zero. An empty `module_id` is made up. 0 or a negative errno value. */
int sim_nsm_init(struct sim_nsm *nsm, const struct sim_chain *chain, const struct sim_clock *clock,
                 const char *module_id) MUST_CHECK;
void sim_nsm_release(struct sim_nsm *nsm);

/* SHA-384(what the PCR holds, data), whether it is locked or not. */
void sim_pcr_extend(uint8_t pcr[SIM_PCR], const void *data, size_t size);

/* Appends the answer to `out`; an error is an answer, too. What was asked is told in `ret_operation` (one of the API's names, or
 * ""). 0, or -ENOMEM. */
int sim_nsm_answer(struct sim_nsm *nsm, const uint8_t *request, size_t size, struct text *out,
                   const char **ret_operation) MUST_CHECK;

/* The answer {"Error": name}. */
void sim_nsm_error(struct text *out, const char *name);

#endif
