/*
 * The doctor in front of a host of the test's own making: a fixture in which all is well, into which each
 * test puts one fault. Included by one source of a test program.
 */
#ifndef DOCTOR_FIXTURE_H
#define DOCTOR_FIXTURE_H

#include "ctl/doctor.h"
#include "ctl/view.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

struct fixture {
    char directory[64];
    char config[96];
    char systemctl[96];
    struct ctl ctl;
    struct doctor_host host;
    json_t *result;
    int code;
};

static int vsock_result, vsock_bind_result;

static int fake_vsock_socket(void)
{
    return vsock_result;
}

static int fake_vsock_bind(uint32_t cid, uint32_t port)
{
    (void)cid;
    (void)port;
    return vsock_bind_result;
}

static void write_file(const char *path, const char *format, ...) PRINTF_LIKE(2, 3);

static void write_file(const char *path, const char *format, ...)
{
    va_list args;
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    va_start(args, format);
    assert_true(vfprintf(file, format, args) >= 0);
    va_end(args);
    assert_int_equal(fclose(file), 0);
}

static struct timex fake_clock; /* as the kernel tells of it */
static int fake_clock_result;

static int fake_adjtimex(struct timex *clock)
{
    assert_int_equal(clock->modes, 0); /* nothing is set */
    *clock = fake_clock;
    errno = EPERM;
    return fake_clock_result;
}

/* A host where all is well: nothing configured, a metadata service that answers, no systemd. */
static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/posternctl-doctor-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
    chmod(fixture->directory, 0755);
    snprintf(fixture->config, sizeof fixture->config, "%s/p.yaml", fixture->directory);
    snprintf(fixture->systemctl, sizeof fixture->systemctl, "%s/systemctl", fixture->directory);
    fixture->ctl = (struct ctl){.json = true, .config = fixture->config, .socket = CTL_SOCKET};
    fixture->host = (struct doctor_host){
        .proc = "/proc",
        .systemd = "/nonexistent",
        .systemctl = fixture->systemctl,
        .user = "nobody",
        .vsock_device = "/dev/null",
        .metadata = "tcp://127.0.0.1:1",
        .patience_ms = 60000,
        .refusal_ms = 60000,
        .vsock_socket = fake_vsock_socket,
        .vsock_bind = fake_vsock_bind,
        .adjtimex = fake_adjtimex,
    };
    fake_clock = (struct timex){.maxerror = 1500};
    fake_clock_result = TIME_OK;
    vsock_result = vsock_bind_result = 0;
    write_file(fixture->config, "version: 1\nadmin: {listen: none}\nmetrics: {listen: none}\n");
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    char command[128];
    json_decref(fixture->result);
    snprintf(command, sizeof command, "rm -r '%s'", fixture->directory);
    assert_int_equal(system(command), 0);
    free(fixture);
    return 0;
}

static void configure(struct fixture *fixture, const char *format, ...) PRINTF_LIKE(2, 3);

static void configure(struct fixture *fixture, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    write_file(fixture->config, "version: 1\nadmin: {listen: none}\nmetrics: {listen: none}\n%s", text);
}

static void examine(struct fixture *fixture)
{
    char *out = NULL;
    size_t size;
    json_error_t error;
    fixture->ctl.out = open_memstream(&out, &size);
    fixture->ctl.err = stderr;
    assert_non_null(fixture->ctl.out);
    fixture->code = doctor_run(&fixture->ctl, &fixture->host);
    fclose(fixture->ctl.out);
    json_decref(fixture->result);
    fixture->result = json_loads(out, 0, &error);
    if (fixture->result == NULL) {
        fail_msg("%s in:\n%s", error.text, out);
    }
    free(out);
}

static const json_t *find(const struct fixture *fixture, const char *check, const char *subject,
                          const char *words)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(fixture->result, "checks"), i, entry)
    {
        if (strcmp(view_text(entry, "check"), check) == 0 &&
            (subject == NULL || strcmp(view_text(entry, "subject"), subject) == 0) &&
            strstr(view_text(entry, "found"), words) != NULL) {
            return entry;
        }
    }
    char *all = json_dumps(fixture->result, JSON_INDENT(1));
    fail_msg("no %s %s with \"%s\" in:\n%s", check, subject != NULL ? subject : "", words, all);
    free(all);
    return NULL;
}

static void expect_ok(const struct fixture *fixture, const char *check, const char *subject,
                      const char *words)
{
    assert_string_equal(view_text(find(fixture, check, subject, words), "verdict"), "ok");
}

/* The fault is named, and `next` is part of the command that comes next. */
static void expect_fault(const struct fixture *fixture, const char *verdict, const char *check,
                         const char *subject, const char *words, const char *next)
{
    const json_t *entry = find(fixture, check, subject, words);
    assert_string_equal(view_text(entry, "verdict"), verdict);
    if (strstr(view_text(entry, "next"), next) == NULL) {
        fail_msg("next is \"%s\", not \"%s\"", view_text(entry, "next"), next);
    }
    if (strcmp(verdict, "fail") == 0) {
        assert_int_equal(fixture->code, CTL_FAILED);
        assert_true(json_is_false(json_object_get(fixture->result, "ok")));
    }
}

UNUSED static int listen_on_loopback(unsigned *port, int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

#define WITH_HOST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
