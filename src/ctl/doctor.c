/* posternctl doctor: collects what the checks find, and prints it. */
#include "ctl/doctor.h"

#include "base/text.h"
#include "base/units.h"
#include "ctl/doctor_process.h"
#include "ctl/shown.h"
#include "ctl/view.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int vsock_socket(void)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    close(fd);
    return 0;
}

static int vsock_bind(uint32_t cid, uint32_t port)
{
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int r = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
    close(fd);
    return r;
}

void doctor_host_init(struct doctor_host *host)
{
    const char *metadata = getenv("POSTERN_DOCTOR_METADATA");
    const char *vsock = getenv("POSTERN_DOCTOR_VSOCK");
    bool without_vsock = vsock != NULL && strcmp(vsock, "off") == 0;
    *host = (struct doctor_host){
        .proc = "/proc",
        .systemd = "/run/systemd/system",
        .systemctl = "systemctl",
        .user = "postern",
        .vsock_device = "/dev/vsock",
        .metadata = metadata != NULL ? metadata : "tcp://169.254.169.254:80",
        .patience_ms = 2000,
        .refusal_ms = 500,
        .vsock_socket = without_vsock ? NULL : vsock_socket,
        .vsock_bind = without_vsock ? NULL : vsock_bind,
        .adjtimex = adjtimex,
    };
}

/* Names out of certificates, of processes and from the network may hold anything, and root reads what is found. */
static void add_found(struct text *out, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void add_found(struct text *out, const char *format, va_list args)
{
    struct text raw = TEXT_INIT;
    text_addv(&raw, format, args);
    text_add_shown(out, text_string(&raw), raw.length);
    out->failed = out->failed || raw.failed;
    text_release(&raw);
}

void doctor_tell(struct doctor *doctor, enum finding finding, const char *check, const char *subject,
                 const char *format, ...)
{
    static const char *const verdicts[] = {"ok", "warn", "fail", "skipped"};
    struct text found;
    va_list args;
    text_init(&found, 0);
    va_start(args, format);
    add_found(&found, format, args);
    va_end(args);
    json_t *entry = json_pack("{s:s, s:s, s:s, s:s, s:n}", "check", check, "subject", subject, "verdict",
                              verdicts[finding], "found", text_string(&found), "next");
    if (found.failed || json_array_append_new(doctor->checks, entry) != 0) {
        doctor->no_memory = true;
    }
    text_release(&found);
}

void doctor_next(struct doctor *doctor, const char *format, ...)
{
    json_t *last = json_array_get(doctor->checks, json_array_size(doctor->checks) - 1);
    struct text next;
    va_list args;
    text_init(&next, 0);
    va_start(args, format);
    add_found(&next, format, args);
    va_end(args);
    if (next.failed || json_object_set_new(last, "next", json_string(text_string(&next))) != 0) {
        doctor->no_memory = true;
    }
    text_release(&next);
}

const char *doctor_options(const struct doctor *doctor, char buffer[DOCTOR_OPTIONS_MAX])
{
    const struct ctl *ctl = doctor->ctl;
    bool other = strcmp(ctl->config, CTL_CONFIG) != 0;
    snprintf(buffer, DOCTOR_OPTIONS_MAX, "%s%s%s%s", other ? " --config " : "", other ? ctl->config : "",
             ctl->socket_given ? " --socket " : "", ctl->socket_given ? ctl->socket : "");
    return buffer;
}

void doctor_next_root(struct doctor *doctor, const char *why)
{
    char options[DOCTOR_OPTIONS_MAX];
    doctor_next(doctor, "sudo posternctl%s doctor%s%s", doctor_options(doctor, options),
                why[0] != '\0' ? "   # " : "", why);
}

int doctor_heard(const char *words)
{
    size_t length = strcspn(words, "\n");
    const char *advice = strstr(words, "posternctl doctor");
    if (advice == NULL || advice > words + length) {
        return (int)length;
    }
    for (const char *c = advice; c > words; c--) {
        if (*c == ';') {
            return (int)(c - words);
        }
    }
    return (int)length;
}

int doctor_daemon_pid(const struct doctor *doctor)
{
    return (int)view_u64(doctor->status, "process/pid");
}

static void print_check(const struct ctl *ctl, const json_t *check)
{
    static const struct {
        const char *verdict;
        const char *shown;
    } words[] = {{"ok", "ok"}, {"warn", "WARN"}, {"fail", "FAIL"}, {"skipped", "-"}};
    const char *shown = "";
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        shown = strcmp(view_text(check, "verdict"), words[i].verdict) == 0 ? words[i].shown : shown;
    }
    fprintf(ctl->out, "%-5s %s%s%s: %s\n", shown, view_text(check, "check"),
            view_text(check, "subject")[0] != '\0' ? " " : "", view_text(check, "subject"),
            view_text(check, "found"));
    if (view_text(check, "next")[0] != '\0') {
        fprintf(ctl->out, "      next: %s\n", view_text(check, "next"));
    }
}

static size_t count_verdicts(const json_t *checks, const char *verdict)
{
    size_t i, count = 0;
    json_t *check;
    json_array_foreach(checks, i, check)
    {
        count += strcmp(view_text(check, "verdict"), verdict) == 0;
    }
    return count;
}

static int print_checks(const struct doctor *doctor)
{
    const struct ctl *ctl = doctor->ctl;
    size_t i, fails = count_verdicts(doctor->checks, "fail");
    json_t *check;
    if (ctl->json) {
        int r = ctl_print_json(ctl, json_pack("{s:b, s:O}", "ok", fails == 0, "checks", doctor->checks));
        return fails > 0 ? CTL_FAILED : r;
    }
    if (shown_make(doctor->checks) != 0) { /* their subjects, which the daemon may have named */
        return ctl_failed(ctl, "out of memory");
    }
    json_array_foreach(doctor->checks, i, check)
    {
        print_check(ctl, check);
    }
    size_t checks = json_array_size(doctor->checks), warnings = count_verdicts(doctor->checks, "warn");
    fprintf(ctl->out, "\n%zu check%s: %zu failed, %zu warning%s, %zu skipped\n", checks, units_plural(checks),
            fails, warnings, units_plural(warnings), count_verdicts(doctor->checks, "skipped"));
    return fails > 0 ? CTL_FAILED : CTL_DONE;
}

int doctor_run(const struct ctl *ctl, const struct doctor_host *host)
{
    struct doctor doctor = {.ctl = ctl, .host = host, .checks = json_array()};
    struct doctor_process process;
    doctor_check_config(&doctor);
    doctor_check_daemon(&doctor);
    doctor_process_look(host->proc, doctor_daemon_pid(&doctor), host->user, &process);
    doctor.process = &process;
    doctor_check_host(&doctor);
    doctor_check_routes(&doctor);
    doctor_check_spool(&doctor);
    doctor_process_release(&process);
    int code = doctor.no_memory ? ctl_failed(ctl, "out of memory") : print_checks(&doctor);
    json_decref(doctor.checks);
    json_decref(doctor.status);
    config_unref(doctor.config);
    return code;
}

int ctl_doctor(struct ctl *ctl, int argc, char **argv)
{
    struct doctor_host host;
    int code;
    if (ctl_no_arguments(ctl, argc, argv, &code) != 0) {
        return code;
    }
    doctor_host_init(&host);
    return doctor_run(ctl, &host);
}
