/*
 * What tests tell the simulator while it runs, over HTTP in the clear:
 *
 *     POST /faults          {"operation": "Decrypt", "fault": "throttle", "count": 2}      fault.h has the words
 *     DELETE /faults
 *     GET /calls            the last calls, as a list; DELETE /calls
 *     PUT /clock            {"offset_ms": 3600000}    the simulator's time is the system's and that much more
 */
#ifndef POSTERN_SIM_CONTROL_H
#define POSTERN_SIM_CONTROL_H

#include "sim/kms.h"

struct sim_control {
    struct sim_kms *kms;
    struct sim_faults *nsm_faults; /* those of NSMs, by the API's names: "Attestation" */
    struct sim_clock *clock;
};

/* One request: a sim_http_handler whose `arg` is the control. */
void sim_control_handle(void *arg, const struct sim_http_exchange *exchange, struct sim_http_answer *answer);

#endif
