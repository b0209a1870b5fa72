/* What `postern run` does before there is a loop: each step waits for what it does, as an init's do. */
#ifndef POSTERN_CLI_RUN_BOOT_H
#define POSTERN_CLI_RUN_BOOT_H

#include "init/settings.h"
#include "init/tell.h"
#include "nsm/nsm.h"
#include <stdbool.h>

#define RUN_BOOT_HEARTBEAT_MS 20000u

/* What this process is: `auto` in the settings follows from it. */
struct run_place {
    bool first;      /* process 1, of a machine or of a container */
    bool machine;    /* of the machine: when it ends, so does that */
    struct nsm *nsm; /* owned; NULL: none */
};

/* Mounts, modules, the NSM, the heartbeat, entropy, the loopback interface: as far as the settings say. A step that fails
 * is told, and the others are done; but one that was asked for by `yes`, or a module, ends it: a negative errno value, told
 * already. place->nsm is to be closed in any case. */
int run_boot(const struct settings *settings, struct run_place *place, const struct tell *told) MUST_CHECK;

#endif
