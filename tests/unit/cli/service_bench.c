/* Local sockets on one session, in tests: see service_bench.h. */
#include "service_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[] = "/tmp/postern-service-XXXXXX";
struct cli_loop loop;
struct notes notes;
struct service service;
struct far far;
FILE *said_file;
char *said;
static size_t said_size;
bool is_over;

const char *path(const char *name)
{
    static char buffers[2][100];
    static unsigned next;
    char *buffer = buffers[next++ % 2];
    snprintf(buffer, 100, "%s/%s", folder, name);
    return buffer;
}

struct service_options options;

void begin_service(void)
{
    static char doors[5][120];
    static char *texts[5];
    static const char *const routes[] = {"echo", "refuse", "silent", "reset", "mute"};
    struct error err = ERROR_INIT;
    for (unsigned i = 0; i < 5; i++) {
        snprintf(doors[i], sizeof doors[i], "unix://%s=%s", path(routes[i]), routes[i]);
        texts[i] = doors[i];
    }
    if (service_init(&service, &options, &loop, &notes, &err) != 0 ||
        service_listen(&service, texts, 5, &err) != 0) {
        fail_msg("%s", err.text);
    }
    service_start(&service);
}

int setup(void **state)
{
    (void)state;
    struct error err;
    char address[120];
    is_over = false;
    said_file = open_memstream(&said, &said_size);
    notes_init(&notes, said_file, "postern: ");
    service_options_default(&options);
    snprintf(address, sizeof address, "unix://%s", path("daemon"));
    assert_int_equal(addr_parse(address, &options.to, &err), 0);
    assert_int_equal(cli_loop_init(&loop, &err), 0);
    far_start(&far, &loop, path("daemon"));
    return 0;
}

int teardown(void **state)
{
    (void)state;
    service_release(&service);
    far_stop(&far);
    cli_loop_release(&loop);
    fclose(said_file);
    free(said);
    return 0;
}

bool was_said(const char *part)
{
    fflush(said_file);
    return strstr(said, part) != NULL;
}

struct program enter(const char *route)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct program program = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(program.fd >= 0);
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path(route));
    assert_int_equal(connect(program.fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(fcntl(program.fd, F_SETFL, O_NONBLOCK), 0);
    return program;
}

bool hear(struct program *program)
{
    uint8_t bytes[65536];
    ssize_t n;
    while ((n = recv(program->fd, bytes, sizeof bytes, 0)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            assert_int_equal(bytes[i], far_pattern(program->got++));
        }
    }
    program->ended |= n == 0;
    program->error = n < 0 && errno != EAGAIN ? errno : program->error;
    return program->ended || program->error != 0;
}

void say(struct program *program, uint64_t total)
{
    uint8_t bytes[16384];
    while (program->sent < total) {
        size_t size = total - program->sent < sizeof bytes ? (size_t)(total - program->sent) : sizeof bytes;
        for (size_t i = 0; i < size; i++) {
            bytes[i] = far_pattern(program->sent + i);
        }
        ssize_t n = send(program->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0) {
            return;
        }
        program->sent += (uint64_t)n;
    }
}

void finish(struct program *program)
{
    assert_int_equal(shutdown(program->fd, SHUT_WR), 0);
}

bool has_got(struct program *program, uint64_t bytes)
{
    (void)hear(program);
    return program->got >= bytes;
}

void echoes(struct program *program, uint64_t bytes)
{
    uint64_t total = program->sent + bytes;
    WAIT_FOR(&loop, (say(program, total), has_got(program, total)));
}

int make_folder(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    return mkdtemp(folder) != NULL ? 0 : -1;
}

int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}
