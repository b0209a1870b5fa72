/*
 * The whole of it: the root of trust, software NSMs, a KMS, a metadata service, and the listener that tells them what to do.
 *
 * Everything is started by sim_start(), and serves from threads of its own until sim_stop().
 */
#ifndef POSTERN_SIM_SIMULATOR_H
#define POSTERN_SIM_SIMULATOR_H

#include "sim/config.h"
#include "sim/control.h"
#include "sim/metadata.h"
#include "sim/nsm.h"
#include "sim/service.h"

struct sim_simulator;

/* One enclave's NSM, and where it is asked. */
struct sim_seat {
    struct sim_simulator *simulator;
    struct sim_nsm nsm;
    struct sim_service service;
};

struct sim_simulator {
    struct sim_config config; /* taken over */
    struct sim_clock clock;
    struct sim_chain chain;
    struct sim_chain other; /* another root, for documents that are not to be believed */
    struct sim_kms kms;
    struct sim_control control;
    struct sim_metadata metadata;
    struct sim_faults nsm_faults;
    SSL_CTX *tls;
    int stop; /* an eventfd */

    struct sim_service kms_service, control_service, metadata_service;
    bool kms_serves, control_serves, metadata_serves;
    struct sim_seat seats[SIM_NSMS_MAX];
    size_t seat_count; /* that serve */
};

/* Everything, and writes addresses.json when all of it listens. The simulator is zeroed before; sim_stop() must follow, whatever is
 * returned: 0, or a negative errno value with the reason in `err`. */
int sim_start(struct sim_simulator *simulator, struct error *err) MUST_CHECK;
void sim_stop(struct sim_simulator *simulator);

/* One NSM, as the configuration has it. */
int sim_seat_start(struct sim_seat *seat, struct sim_simulator *simulator,
                   const struct sim_config_nsm *config, struct error *err) MUST_CHECK;

/* Every conversation with one: a sim_serve whose `arg` is the seat. A request is u32 big-endian, its size, and that many bytes; so
 * is the answer. */
void sim_seat_serve(void *arg, struct sim_wire *wire);

#endif
