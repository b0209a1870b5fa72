/* The order matters: devices come with /dev and the modules, and nitro-cli waits for the heartbeat with a time limit. */
#include "cli/run_boot.h"

#include "init/entropy.h"
#include "init/loopback.h"
#include "init/machine.h"
#include "init/mounts.h"
#include "nsm/nsm.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define POOL "/dev/urandom"

/* A step has failed: what was asked for by `yes` must not. */
static int bear(uint32_t choice, int code, const struct tell *told, const struct error *err)
{
    tell(told, "%s", err->text);
    return choice == SETTINGS_YES ? code : 0;
}

static bool wanted(uint32_t choice, bool otherwise)
{
    return choice == SETTINGS_AUTO ? otherwise : choice == SETTINGS_YES;
}

/* An O_PATH one only keeps the number: main() found no /dev. */
static bool is_open(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_PATH) == 0;
}

static int open_anything(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);

    return fd >= 0 ? fd : open("/dev/null", O_RDWR);
}

/* An init may be started with none of them open. */
static void open_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        int opened = is_open(fd) ? fd : open_anything();
        if (opened > fd) {
            (void)dup2(opened, fd);
            close(opened);
        }
    }
}

static int make_mounts(const struct settings *settings, bool first, const struct tell *told)
{
    if (!wanted(settings->mounts, first)) {
        return 0;
    }
    return mounts_make("", told) > 0 && settings->mounts == SETTINGS_YES ? -EIO : 0;
}

static int load_modules(const struct settings *settings, const struct tell *told)
{
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < settings->module.count; i++) {
        int code = machine_load_module(settings->module.items[i], &err);

        if (code < 0) {
            tell(told, "%s", err.text);
            return code;
        }
    }
    return 0;
}

/* No NSM is no error, unless it is needed for what was asked for. */
static int open_nsm(const struct settings *settings, struct run_place *place, const struct tell *told)
{
    bool needed = settings->entropy == SETTINGS_YES;
    struct error err = ERROR_INIT;

    int code;

    if (!strcmp(settings->nsm, "none")) {
        code = error_set(&err, -ENOENT, "entropy = yes, but nsm = none");
    } else {
        code = nsm_open(settings->nsm, &place->nsm, &err);
    }
    return code < 0 && (needed || code != -ENOENT) ? bear(settings->entropy, code, told, &err) : 0;
}

static int send_heartbeat(const struct settings *settings, const struct run_place *place,
                          const struct tell *told)
{
    struct error err = ERROR_INIT;
    int code = 0;

    if (wanted(settings->heartbeat, place->machine && place->nsm)) {
        code = machine_heartbeat(RUN_BOOT_HEARTBEAT_MS, &err);
    }
    return code < 0 ? bear(settings->heartbeat, code, told, &err) : 0;
}

static int seed(const struct settings *settings, struct nsm *nsm, const struct tell *told)
{
    struct error err = ERROR_INIT;
    bool counted = true;
    int code = 0;

    if (nsm && wanted(settings->entropy, true)) {
        code = entropy_seed(nsm, POOL, &counted, &err);
        if (code == 0) {
            tell(told, "seeded %s with %u bytes of the NSM's%s", POOL, ENTROPY_BYTES,
                 counted ? "" : ", which are not counted as entropy without CAP_SYS_ADMIN");
        }
    }
    return code < 0 ? bear(settings->entropy, code, told, &err) : 0;
}

static int raise_loopback(const struct settings *settings, const struct tell *told)
{
    struct error err = ERROR_INIT;
    int code = 0;

    if (wanted(settings->loopback, true)) {
        code = loopback_up(&err);
    }
    return code < 0 ? bear(settings->loopback, code, told, &err) : 0;
}

int run_boot(const struct settings *settings, struct run_place *place, const struct tell *told)
{
    int code;

    place->nsm = NULL;
    place->first = getpid() == 1;
    code = make_mounts(settings, place->first, told);
    if (place->first) {
        open_standard_descriptors();
    }
    place->machine = machine_is_ours();
    code = code < 0 ? code : load_modules(settings, told);
    code = code < 0 ? code : open_nsm(settings, place, told);
    code = code < 0 ? code : send_heartbeat(settings, place, told);
    code = code < 0 ? code : seed(settings, place->nsm, told);
    return code < 0 ? code : raise_loopback(settings, told);
}
