/*
 * posternctl doctor: looks for what is wrong with this host, and for each finding says what to type next.
 *
 * Checks are grouped in files by what they look at: doctor_daemon.c (the running daemon), doctor_host.c
 * (listeners, directories, vsock, the metadata service, the clock), doctor_routes.c (names, connections, certificates;
 * how a destination is reached: doctor_reach.c), doctor_forward.c (what forward routes need besides: files,
 * secrets, credentials) and doctor_spool.c. Nothing is changed; what is opened is closed at once.
 *
 * What depends on who asks, such as a variable of the environment or whether a file can be read, is looked at as
 * the daemon's process would see it: doctor_process.c.
 */
#ifndef POSTERN_CTL_DOCTOR_H
#define POSTERN_CTL_DOCTOR_H

#include "base/compiler.h"
#include "config/config.h"
#include "ctl/ctl.h"
#include <jansson.h>
#include <limits.h>
#include <stdint.h>
#include <sys/timex.h>

/* The places on the host that are looked at. Tests have their own. */
struct doctor_host {
    const char *proc;         /* "/proc" */
    const char *systemd;      /* a path that is there when systemd runs the host */
    const char *systemctl;    /* the command */
    const char *user;         /* whom the daemon runs as */
    const char *vsock_device; /* "/dev/vsock" */
    const char *metadata;     /* the instance metadata service's address */
    unsigned patience_ms;     /* for each connection, and each handshake */
    unsigned refusal_ms;      /* for an upstream that thinks better of it after the handshake */
    /* Makes and closes an AF_VSOCK socket; binds one, without listening. 0 or a negative errno value.
     * NULL: not to be tried here. */
    int (*vsock_socket)(void);
    int (*vsock_bind)(uint32_t cid, uint32_t port);
    int (*adjtimex)(struct timex *clock); /* reads how the clock is kept */
};

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL, FINDING_SKIPPED };

struct doctor_process;

struct doctor {
    const struct ctl *ctl;
    const struct doctor_host *host;
    struct config *config;                /* NULL: there is none to go by */
    json_t *status;                       /* NULL: the daemon does not answer */
    const struct doctor_process *process; /* once the daemon was looked at */
    json_t *checks; /* of all that was found: {"check", "subject", "verdict", "found", "next"} */
    bool shut;      /* it is there, and does not let this user ask it */
    bool no_memory;
};

/* The host this runs on. $POSTERN_DOCTOR_METADATA is the metadata service's address, and
 * $POSTERN_DOCTOR_VSOCK=off keeps the doctor from making AF_VSOCK sockets: for tests on a machine that is
 * no parent instance. */
void doctor_host_init(struct doctor_host *host);

/* Adds a finding; `subject` is the listener, route or file that it is about, or "". */
void doctor_tell(struct doctor *doctor, enum finding finding, const char *check, const char *subject,
                 const char *format, ...) PRINTF_LIKE(5, 6);

/* The command to type next, for the finding told last. */
void doctor_next(struct doctor *doctor, const char *format, ...) PRINTF_LIKE(2, 3);

#define DOCTOR_OPTIONS_MAX (2 * PATH_MAX + 32)

/* " --config FILE --socket ADDRESS", as far as they were given. Into `buffer`, which is returned. */
const char *doctor_options(const struct doctor *doctor, char buffer[DOCTOR_OPTIONS_MAX]);

/* To look again as root, with the same options. `why` may be "". */
void doctor_next_root(struct doctor *doctor, const char *why);

/* How much of the daemon's words, or of the client's, to tell: the first line, without the advice to ask the doctor. */
int doctor_heard(const char *words);

/* The process id of the daemon that answers; 0 if none does. */
int doctor_daemon_pid(const struct doctor *doctor);

void doctor_check_config(struct doctor *doctor);
void doctor_check_daemon(struct doctor *doctor);
void doctor_check_host(struct doctor *doctor);
void doctor_check_routes(struct doctor *doctor);
void doctor_check_forward(struct doctor *doctor, const struct config_route *route);
void doctor_check_spool(struct doctor *doctor);

/* All checks, and their printing. Returns the exit code. */
int doctor_run(const struct ctl *ctl, const struct doctor_host *host);

#endif
