/*
 * The doctor's way to a destination: its name looked up as the daemon would, the addresses judged by the route's rules, and a
 * connection made. Each step is told, and with a failure what to type next.
 */
#ifndef POSTERN_CTL_DOCTOR_REACH_H
#define POSTERN_CTL_DOCTOR_REACH_H

#include "ctl/doctor.h"
#include <stdint.h>

struct doctor_destination {
    const struct config_route *route;
    struct addr to;
};

/* A time of dial.h's clock: from now, as long as the route and the doctor's patience allow. */
uint64_t doctor_deadline(const struct doctor *doctor, const struct config_route *route);

/* For tcp: returns a connected descriptor, which is the caller's to close, or -1 after telling why not. */
int doctor_reach(struct doctor *doctor, const struct doctor_destination *destination) MUST_CHECK;

/* The same for unix and hybrid addresses; closes what it connected. */
void doctor_reach_path(struct doctor *doctor, const struct doctor_destination *destination);

#endif
