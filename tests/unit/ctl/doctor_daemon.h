/* The doctor in front of a daemon, besides the host of doctor_fixture.h. */
#ifndef DOCTOR_DAEMON_H
#define DOCTOR_DAEMON_H

#include "doctor_fixture.h"
#include "fake_daemon.h"

/* Starts the daemon, which was initialised before, and stops it again. */
static void examine_daemon(struct fixture *fixture, struct fake_daemon *daemon)
{
    fake_daemon_start(daemon, ADMIN_ROLE_ADMIN);
    fixture->ctl.socket = daemon->address;
    fixture->ctl.socket_given = true;
    examine(fixture);
    fake_daemon_stop(daemon);
}

#endif
