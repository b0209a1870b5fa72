/* The doctor's look at the host: who holds the listeners' addresses, their directories, vsock, the
 * metadata service, the clock. */
#include "base/units.h"
#include "ctl/dial.h"
#include "ctl/doctor.h"
#include "ctl/holder.h"
#include "ctl/view.h"
#include "net/sock.h"
#include <errno.h>
#include <libgen.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Directories of unix sockets. */

static bool may_write(const struct stat *directory, const struct passwd *user)
{
    if (user->pw_uid == 0) {
        return true;
    }
    mode_t needed = directory->st_uid == user->pw_uid   ? S_IWUSR | S_IXUSR
                    : directory->st_gid == user->pw_gid ? S_IWGRP | S_IXGRP
                                                        : S_IWOTH | S_IXOTH;
    return (directory->st_mode & needed) == needed;
}

static void check_directory(struct doctor *doctor, const char *name, const struct addr *listen)
{
    char path[ADDR_HOST_MAX];
    struct stat status;
    snprintf(path, sizeof path, "%s", listen->host);
    const char *directory = dirname(path);
    const struct passwd *user = getpwnam(doctor->host->user);
    if (stat(directory, &status) != 0) {
        doctor_tell(doctor, FINDING_FAIL, "directory", name, "%s: %s", directory, error_words(-errno));
        doctor_next(doctor, "sudo install -d -o %s -g %s -m 0750 %s", doctor->host->user, doctor->host->user,
                    directory);
    } else if (user == NULL) {
        doctor_tell(doctor, FINDING_SKIPPED, "directory", name, "%s is there; there is no user %s to ask for",
                    directory, doctor->host->user);
    } else if (!may_write(&status, user)) {
        doctor_tell(doctor, FINDING_FAIL, "directory", name, "the user %s may not make a socket in %s",
                    doctor->host->user, directory);
        doctor_next(doctor, "sudo chown %s:%s %s", doctor->host->user, doctor->host->user, directory);
    } else {
        doctor_tell(doctor, FINDING_OK, "directory", name, "%s is there, and %s may write to it", directory,
                    doctor->host->user);
    }
}

/* Who listens. */

static void tell_other_holder(struct doctor *doctor, const char *name, const char *address,
                              const struct holder *holder)
{
    bool elsewhere = strcmp(holder->address, address) != 0 && holder->address[0] != '\0';
    if (holder->pid == 0 && doctor->shut) {
        doctor_tell(doctor, FINDING_SKIPPED, "listener", name,
                    "%s is held by another user, most likely the daemon, which this user may not ask",
                    address);
        return;
    }
    if (holder->pid == 0) {
        doctor_tell(doctor, FINDING_FAIL, "listener", name, "%s is held by a process of another user%s%s",
                    address, elsewhere ? ", which has " : "", elsewhere ? holder->address : "");
        doctor_next_root(doctor, "root sees which process it is");
        return;
    }
    doctor_tell(doctor, FINDING_FAIL, "listener", name, "%s is held by process %d (%s)%s%s", address,
                holder->pid, holder->command, elsewhere ? ", which has " : "",
                elsewhere ? holder->address : "");
    doctor_next(doctor, "ps -fp %d   # then stop it, or give the listener another address", holder->pid);
}

static bool has_directory(const struct addr *listen)
{
    return listen->kind != ADDR_TCP && listen->host[0] != '@';
}

static void tell_nobody(struct doctor *doctor, const char *name, const char *address,
                        const struct addr *listen)
{
    if (doctor->status != NULL) {
        doctor_tell(doctor, FINDING_FAIL, "listener", name, "the daemon runs, but nobody listens at %s",
                    address);
        doctor_next(doctor, "posternctl reload && posternctl status");
        if (has_directory(listen)) {
            check_directory(doctor, name, listen);
        }
        return;
    }
    if (sock_is_other_file(listen)) {
        doctor_tell(doctor, FINDING_FAIL, "listener", name, "%s: a file that is no socket is in its place",
                    address);
        doctor_next(doctor, "ls -l %s*   # then move it away, or give the listener another path",
                    listen->host);
        return;
    }
    doctor_tell(doctor, FINDING_OK, "listener", name, "%s is free", address);
    if (has_directory(listen)) {
        check_directory(doctor, name, listen);
    }
}

static void check_held(struct doctor *doctor, const char *name, const char *address,
                       const struct addr *listen)
{
    struct holder holder;
    int daemon = doctor_daemon_pid(doctor);
    if (listen->kind == ADDR_TCP && listen->port == 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "listener", name, "%s: any free port", address);
        return;
    }
    if (holder_find(doctor->host->proc, listen, daemon, &holder) != 0 || !holder.listening) {
        tell_nobody(doctor, name, address, listen);
    } else if (daemon > 0 && (holder.pid == daemon || holder.pid == 0)) {
        doctor_tell(doctor, FINDING_OK, "listener", name, "%s is held by %s", address,
                    holder.pid == daemon ? "the daemon"
                                         : "somebody, most likely the daemon; as root I could see");
    } else if (doctor->status == NULL && strcmp(holder.command, "posternd") == 0) {
        doctor_tell(doctor, FINDING_OK, "listener", name,
                    "%s is held by process %d (posternd), most likely the daemon", address, holder.pid);
    } else if (holder.pid == 1) {
        doctor_tell(doctor, FINDING_OK, "listener", name, "%s is held by systemd for the daemon", address);
    } else {
        tell_other_holder(doctor, name, address, &holder);
    }
}

static bool in_status(const struct doctor *doctor, const char *name)
{
    size_t i;
    json_t *listener;
    json_array_foreach(view_at(doctor->status, "listeners"), i, listener)
    {
        if (strcmp(view_text(listener, "name"), name) == 0) {
            return json_is_true(view_at(listener, "configured"));
        }
    }
    return false;
}

/* There is no list of vsock sockets in /proc: binding one is the only way to know. */
static void check_vsock_held(struct doctor *doctor, const char *name, const char *address,
                             const struct addr *listen)
{
    if (in_status(doctor, name)) {
        doctor_tell(doctor, FINDING_OK, "listener", name, "%s: the daemon has it", address);
        return;
    }
    if (doctor->host->vsock_bind == NULL) {
        doctor_tell(doctor, FINDING_SKIPPED, "listener", name, "%s: no vsock here", address);
        return;
    }
    int r = doctor->host->vsock_bind(listen->cid, listen->port);
    if (r == 0) {
        doctor_tell(doctor, FINDING_OK, "listener", name, "%s is free", address);
    } else if (r == -EADDRINUSE) {
        doctor_tell(doctor, FINDING_FAIL, "listener", name, "%s is held by another process", address);
        doctor_next(doctor, "sudo ss --vsock -lp");
    } else {
        doctor_tell(doctor, FINDING_FAIL, "listener", name, "%s: %s", address, error_words(r));
        doctor_next(doctor, "ls -l /dev/vsock; lsmod | grep vsock");
    }
}

static void check_listener(struct doctor *doctor, const char *name, const struct addr *listen)
{
    char address[ADDR_TEXT_MAX];
    addr_format(listen, address);
    if (listen->kind == ADDR_VSOCK) {
        check_vsock_held(doctor, name, address, listen);
    } else if (listen->kind != ADDR_NONE) {
        check_held(doctor, name, address, listen);
    }
}

/* vsock. */

static bool uses_vsock(const struct config *config)
{
    for (unsigned i = 0; i < config->listener_count; i++) {
        if (config->listeners[i].listen.kind == ADDR_VSOCK) {
            return true;
        }
    }
    for (unsigned i = 0; i < config->route_count; i++) {
        if (config->routes[i].to.kind == ADDR_VSOCK) {
            return true;
        }
        for (unsigned k = 0; k < config->routes[i].sni_count; k++) {
            if (config->routes[i].sni[k].to.kind == ADDR_VSOCK) {
                return true;
            }
        }
    }
    return false;
}

static void check_vsock_device(struct doctor *doctor)
{
    struct stat status;
    const char *device = doctor->host->vsock_device;
    if (stat(device, &status) == 0) {
        doctor_tell(doctor, FINDING_OK, "vsock", device, "is there");
        return;
    }
    doctor_tell(doctor, FINDING_FAIL, "vsock", device,
                "%s: the kernel has no vsock, or this is a container that was not given it",
                error_words(-errno));
    doctor_next(doctor, "sudo modprobe vsock && ls -l %s", device);
}

static void check_vsock_socket(struct doctor *doctor)
{
    int r = doctor->host->vsock_socket();
    switch (r) {
    case 0:
        doctor_tell(doctor, FINDING_OK, "vsock", "AF_VSOCK", "sockets can be made");
        break;
    case -EPERM:
    case -EACCES:
        doctor_tell(
            doctor, FINDING_FAIL, "vsock", "AF_VSOCK",
            "the kernel refuses sockets (%s): a seccomp profile, such as Docker's default, is in force",
            error_words(r));
        doctor_next(
            doctor,
            "grep Seccomp /proc/self/status   # 2: run the container with a profile that allows AF_VSOCK");
        break;
    case -EAFNOSUPPORT:
        doctor_tell(doctor, FINDING_FAIL, "vsock", "AF_VSOCK",
                    "the kernel knows no such sockets: the module is missing, or RestrictAddressFamilies= "
                    "leaves it out");
        doctor_next(doctor, "sudo modprobe vsock; systemctl show postern -p RestrictAddressFamilies");
        break;
    default:
        doctor_tell(doctor, FINDING_FAIL, "vsock", "AF_VSOCK", "making a socket: %s", error_words(r));
        doctor_next(doctor, "dmesg | tail");
        break;
    }
}

static void check_vsock(struct doctor *doctor)
{
    if (!uses_vsock(doctor->config)) {
        doctor_tell(doctor, FINDING_SKIPPED, "vsock", "", "the configuration has no vsock address");
        return;
    }
    check_vsock_device(doctor);
    if (doctor->host->vsock_socket != NULL) {
        check_vsock_socket(doctor);
    } else {
        doctor_tell(doctor, FINDING_SKIPPED, "vsock", "AF_VSOCK", "not tried here");
    }
}

/* The instance metadata service. */

static void check_metadata(struct doctor *doctor)
{
    struct error err = ERROR_INIT;
    struct addr addr;
    const char *address = doctor->host->metadata;
    if (addr_parse(address, &addr, &err) != 0) {
        doctor_tell(doctor, FINDING_FAIL, "metadata", address, "%s", err.text);
        doctor_next(doctor, "unset POSTERN_DOCTOR_METADATA");
        return;
    }
    int fd = dial_addr(&addr, dial_now_ms() + doctor->host->patience_ms);
    if (fd >= 0) {
        close(fd);
        doctor_tell(doctor, FINDING_OK, "metadata", address, "the instance metadata service can be reached");
        return;
    }
    /* Relays do without it. */
    doctor_tell(doctor, FINDING_WARN, "metadata", address,
                "the instance metadata service cannot be reached (%s): programs on this host that take AWS "
                "credentials "
                "from it will fail; relays work without",
                error_words(fd));
    doctor_next(doctor, "sudo nft list ruleset | grep 169.254; ip route get 169.254.169.254");
}

/* The clock. */

/* Signatures carry it, and an enclave may take its own from it. */
static bool needs_clock(const struct config *config)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        if (route->type == CONFIG_TIME || (route->forward != NULL && route->forward->sign != NULL)) {
            return true;
        }
    }
    return false;
}

/* What the kernel was told by whoever keeps the clock (chrony, systemd-timesyncd, ntpd). */
static void check_clock(struct doctor *doctor)
{
    struct timex clock = {.modes = 0};
    char within[UNITS_TEXT_MAX];
    int state = doctor->host->adjtimex(&clock);
    if (state < 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "clock", "", "how it is kept is not to be seen: %s",
                    error_words(-errno));
    } else if (state == TIME_ERROR || (clock.status & STA_UNSYNC) != 0) {
        doctor_tell(doctor, FINDING_WARN, "clock", "",
                    "nothing keeps it right: AWS takes no signature that is minutes off, and routes of type "
                    "time tell it to enclaves");
        doctor_next(doctor,
                    "timedatectl; chronyc tracking   # no service? sudo systemctl enable --now chronyd");
    } else {
        doctor_tell(doctor, FINDING_OK, "clock", "", "it is kept, to %s at most",
                    units_human_duration((uint64_t)clock.maxerror / 1000 + 1, within));
    }
}

void doctor_check_host(struct doctor *doctor)
{
    const struct config *config = doctor->config;
    if (config != NULL) {
        for (unsigned i = 0; i < config->listener_count; i++) {
            check_listener(doctor, config->listeners[i].name, &config->listeners[i].listen);
        }
        check_listener(doctor, "admin", &config->admin);
        check_listener(doctor, "metrics", &config->metrics);
        check_vsock(doctor);
        if (needs_clock(config)) {
            check_clock(doctor);
        }
    }
    check_metadata(doctor);
}
