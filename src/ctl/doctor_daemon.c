/* The doctor's look at the configuration file and at the daemon itself: does it run, is it well, is
 * it let. */
#include "base/units.h"
#include "ctl/doctor.h"
#include "ctl/load.h"
#include "ctl/view.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUNG_MS 1000

void doctor_check_config(struct doctor *doctor)
{
    const char *file = doctor->ctl->config;
    struct text mistakes;
    text_init(&mistakes, 0);
    int r = load_config_quietly(doctor->ctl, &doctor->config, &mistakes);
    if (r == 0) {
        const struct config *config = doctor->config;
        doctor_tell(doctor, FINDING_OK, "config", file, "valid: %u enclave%s, %u listener%s, %u route%s",
                    config->enclave_count, units_plural(config->enclave_count), config->listener_count,
                    units_plural(config->listener_count), config->route_count,
                    units_plural(config->route_count));
        if (config->listener_count == 0) {
            doctor_tell(doctor, FINDING_WARN, "config", file, "it has no listener, so nobody can connect");
            doctor_next(doctor, "sudoedit %s   # see postern.yaml(5) for an example", file);
        }
    } else {
        doctor->config = NULL;
        const char *said = text_string(&mistakes);
        doctor_tell(doctor, FINDING_FAIL, "config", file, "%.*s", (int)strcspn(said, "\n"), said);
        if (r == -EACCES && geteuid() == 0) {
            doctor_next(doctor, "namei -l %s", file);
        } else if (r == -EACCES) {
            doctor_next_root(doctor, "");
        } else {
            doctor_next(doctor, "posternd --check --config %s", file);
        }
    }
    text_release(&mistakes);
}

/* The socket. */

static void tell_unreachable(struct doctor *doctor, int r, const char *words)
{
    doctor_tell(doctor, FINDING_FAIL, "daemon", "", "%.*s", doctor_heard(words), words);
    switch (r) {
    case -ENOENT:
    case -ECONNREFUSED:
        doctor_next(doctor, "sudo systemctl start postern && systemctl status postern");
        break;
    case -EACCES:
    case -EPERM:
        doctor->shut = true;
        doctor_next(doctor, "sudo usermod -aG postern \"$USER\"   # then log in again");
        break;
    case -ETIMEDOUT:
        doctor_next(doctor, "journalctl -u postern -n 50 --no-pager; sudo systemctl restart postern");
        break;
    default:
        doctor_next(doctor, "systemctl status postern");
        break;
    }
}

static void check_socket(struct doctor *doctor)
{
    struct error err = ERROR_INIT;
    char duration[UNITS_TEXT_MAX], address[ADDR_TEXT_MAX];
    struct ctl ctl = *doctor->ctl;
    if (!ctl.socket_given && doctor->config != NULL) {
        if (doctor->config->admin.kind == ADDR_NONE) {
            doctor_tell(doctor, FINDING_SKIPPED, "daemon", "",
                        "`admin.listen` is none, so it cannot be asked");
            return;
        }
        ctl.socket = addr_format(&doctor->config->admin, address);
    }
    int r = view_fetch(&ctl, &doctor->status, &err);
    if (r != 0) {
        doctor->status = NULL;
        tell_unreachable(doctor, r, err.text);
        return;
    }
    doctor_tell(doctor, FINDING_OK, "daemon", "", "posternd %s answers, pid %d, up %s",
                view_text(doctor->status, "version"), doctor_daemon_pid(doctor),
                units_human_duration(view_u64(doctor->status, "uptime_s") * 1000, duration));
}

/* The unit. */

/* The first line that the command prints, without its end; "" if there is none. */
static void ask_systemctl(const struct doctor *doctor, char *line, size_t size)
{
    char command[512];
    line[0] = '\0';
    snprintf(command, sizeof command, "%s is-active " CTL_UNIT " 2>/dev/null", doctor->host->systemctl);
    FILE *pipe = popen(command, "re");
    if (pipe == NULL) {
        return;
    }
    if (fgets(line, (int)size, pipe) == NULL) {
        line[0] = '\0';
    }
    line[strcspn(line, "\n")] = '\0';
    pclose(pipe);
}

static void check_unit(struct doctor *doctor)
{
    char said[64];
    struct stat status;
    if (stat(doctor->host->systemd, &status) != 0) {
        doctor_tell(doctor, FINDING_SKIPPED, "unit", CTL_UNIT, "this host is not run by systemd");
        return;
    }
    ask_systemctl(doctor, said, sizeof said);
    if (strcmp(said, "active") == 0 || strcmp(said, "reloading") == 0) {
        doctor_tell(doctor, FINDING_OK, "unit", CTL_UNIT, "%s", said);
        return;
    }
    /* One that was started by hand is no fault, but will not be there after a boot. */
    doctor_tell(doctor, doctor->status != NULL ? FINDING_WARN : FINDING_FAIL, "unit", CTL_UNIT, "%s%s",
                said[0] != '\0' ? said : "systemctl does not answer",
                doctor->status != NULL ? ", though a daemon runs" : "");
    if (strcmp(said, "failed") == 0) {
        doctor_next(doctor, "journalctl -u postern -n 50 --no-pager");
    } else {
        doctor_next(doctor, "sudo systemctl enable --now postern");
    }
}

/* Its state. */

static void check_state(struct doctor *doctor)
{
    const char *state = view_text(doctor->status, "state");
    size_t i;
    json_t *worker;
    char duration[UNITS_TEXT_MAX];
    json_array_foreach(view_at(doctor->status, "workers"), i, worker)
    {
        if (view_u64(worker, "busy_ms") >= HUNG_MS) {
            doctor_tell(doctor, FINDING_FAIL, "worker", "",
                        "worker %zu has not returned to its event loop for %s", i,
                        units_human_duration(view_u64(worker, "busy_ms"), duration));
            doctor_next(doctor, "journalctl -u postern -n 50 --no-pager; sudo systemctl restart postern");
        }
    }
    if (strcmp(state, "ready") != 0) {
        doctor_tell(doctor, FINDING_WARN, "state", "", "%s: it opens no new streams", state);
        doctor_next(doctor, "systemctl status postern");
    }
}

/* Put there counts as written: an older file that is moved to its place keeps the time of its bytes, and not that of its inode. */
static bool changed_since(const struct stat *file, uint64_t time_s)
{
    return (uint64_t)file->st_mtim.tv_sec > time_s || (uint64_t)file->st_ctim.tv_sec > time_s;
}

static void check_file(struct doctor *doctor, const char *file)
{
    const char *ours = doctor->ctl->config;
    struct stat status, our_status;
    if (file[0] != '/') {
        doctor_tell(doctor, FINDING_SKIPPED, "reload", "",
                    "the daemon was given a path from where it was started: %s", file);
    } else if (stat(file, &status) != 0) {
        bool shut = errno == EACCES;
        doctor_tell(doctor, shut ? FINDING_SKIPPED : FINDING_FAIL, "reload", "",
                    "cannot look at %s, which the daemon has read: %s", file, error_words(-errno));
        if (shut) {
            doctor_next_root(doctor, "");
        } else {
            doctor_next(doctor, "ls -l %s", file);
        }
    } else if (changed_since(&status, view_u64(doctor->status, "config/last_reload/time_s"))) {
        doctor_tell(doctor, FINDING_WARN, "reload", "", "%s was changed after the daemon read it", file);
        doctor_next(doctor, "posternctl reload");
    } else if (stat(ours, &our_status) != 0 || our_status.st_ino != status.st_ino ||
               our_status.st_dev != status.st_dev) {
        doctor_tell(doctor, FINDING_WARN, "reload", "", "the daemon reads %s, and not %s", file, ours);
        doctor_next(doctor, "posternctl --config %s doctor", file);
    } else {
        doctor_tell(doctor, FINDING_OK, "reload", "", "the daemon has %s as it is", file);
    }
}

/* A file that is valid was refused for what the host has not, which another look at it would not show. */
static void tell_refused_next(struct doctor *doctor, const char *file)
{
    if (doctor->config != NULL && strcmp(file, doctor->ctl->config) == 0) {
        doctor_next(doctor, "posternctl reload   # once that is mended");
    } else {
        doctor_next(doctor, "posternd --check --config %s && posternctl reload", file);
    }
}

static void check_reload(struct doctor *doctor)
{
    const json_t *status = doctor->status;
    const char *file = view_text(status, "config/file");
    if (json_is_false(view_at(status, "config/last_reload/accepted"))) {
        const char *error = view_text(status, "config/last_reload/error");
        doctor_tell(doctor, FINDING_FAIL, "reload", "",
                    "the last one was refused, the one before is in force: %.*s", doctor_heard(error), error);
        tell_refused_next(doctor, file);
    } else {
        check_file(doctor, file);
    }
}

/* Its bounds. */

static void check_descriptors(struct doctor *doctor)
{
    uint64_t streams = view_u64(doctor->status, "streams/limit");
    uint64_t limit = view_u64(doctor->status, "process/max_fds");
    uint64_t sessions = view_u64(doctor->status, "sessions/limit");
    uint64_t wanted = config_descriptors(streams, sessions);
    if (limit >= wanted) {
        doctor_tell(doctor, FINDING_OK, "descriptors", "",
                    "%" PRIu64 " may be open, and the limits need %" PRIu64, limit, wanted);
        return;
    }
    doctor_tell(doctor, FINDING_FAIL, "descriptors", "",
                "only %" PRIu64 " may be open, and limits of %" PRIu64 " streams and %" PRIu64
                " sessions need %" PRIu64,
                limit, streams, sessions, wanted);
    doctor_next(doctor, "sudo systemctl edit postern   # [Service] LimitNOFILE=%" PRIu64 ", then restart",
                wanted);
}

/* `one` is the singular of what is counted, and of the key that bounds it. A lone place is there to be taken: an enclave that
 * may have one session has it all the time. */
static void check_share(struct doctor *doctor, const char *one, const char *what, const char *name,
                        uint64_t active, uint64_t limit)
{
    if (limit > 1 && active * 10 >= limit * 9) {
        doctor_tell(doctor, FINDING_WARN, "limit", name, "%" PRIu64 " of the %s's %" PRIu64 " %ss are open",
                    active, what, limit, one);
        doctor_next(doctor, "posternctl top   # who holds them? then raise max_%ss in %s", one,
                    view_text(doctor->status, "config/file"));
    }
}

static void check_shares(struct doctor *doctor)
{
    static const struct {
        const char *list, *what, *one, *active, *limit;
    } lists[] = {{"routes", "route", "stream", "active", "limit"},
                 {"enclaves", "enclave", "stream", "active", "limit"},
                 {"enclaves", "enclave", "session", "sessions_active", "sessions_limit"}};
    const json_t *status = doctor->status;
    size_t i;
    json_t *entry;
    check_share(doctor, "stream", "daemon", "limits.max_streams", view_u64(status, "streams/active"),
                view_u64(status, "streams/limit"));
    check_share(doctor, "session", "daemon", "limits.max_sessions", view_u64(status, "sessions/active"),
                view_u64(status, "sessions/limit"));
    for (size_t list = 0; list < ARRAY_SIZE(lists); list++) {
        json_array_foreach(view_at(status, lists[list].list), i, entry)
        {
            check_share(doctor, lists[list].one, lists[list].what, view_text(entry, "name"),
                        view_u64(entry, lists[list].active), view_u64(entry, lists[list].limit));
        }
    }
}

static void check_log(struct doctor *doctor)
{
    uint64_t dropped = view_u64(doctor->status, "process/log_lines_dropped");
    if (dropped > 0) {
        doctor_tell(doctor, FINDING_WARN, "log", "",
                    "%" PRIu64 " line%s dropped since the daemon started: the log's reader is too slow",
                    dropped, dropped == 1 ? " was" : "s were");
        doctor_next(doctor,
                    "systemctl status systemd-journald   # or whoever reads the daemon's standard error");
    }
}

/* A disk that is full leaves the spool in good health: what it has is safe, and removals go on. */
static void check_spool_refusals(struct doctor *doctor)
{
    size_t i;
    json_t *route;
    json_array_foreach(view_at(doctor->status, "spool/routes"), i, route)
    {
        uint64_t failed = view_u64(route, "failed");
        if (failed > 0) {
            doctor_tell(doctor, FINDING_WARN, "spool", view_text(route, "route"),
                        "%" PRIu64 " request%s refused since it was opened: the disk was full or failed, "
                        "or memory was short",
                        failed, failed == 1 ? " was" : "s were");
            doctor_next(doctor, "df -h %s; journalctl -u postern -g \"request refused\"",
                        view_text(doctor->status, "spool/path"));
        }
    }
}

void doctor_check_daemon(struct doctor *doctor)
{
    check_socket(doctor);
    check_unit(doctor);
    if (doctor->status != NULL) {
        check_state(doctor);
        check_reload(doctor);
        check_descriptors(doctor);
        check_shares(doctor);
        check_log(doctor);
        check_spool_refusals(doctor);
    }
}
