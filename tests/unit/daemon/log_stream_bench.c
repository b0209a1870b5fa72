/* One stream to the log, in tests: see log_stream_bench.h. */
#include "log_stream_bench.h"

#include "base/log.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct loopback loopback;
struct config_route route;
struct enclave_counters counters;
struct log_stream stream;
unsigned ended;
uint64_t moved;
static FILE *file;
json_t *lines[LINES_MAX];
unsigned count;

static void on_moved(struct log_stream *which, uint64_t bytes)
{
    assert_ptr_equal(which, &stream);
    assert_true(bytes > 0);
    moved += bytes;
}

static void on_ended(struct log_stream *which)
{
    assert_ptr_equal(which, &stream);
    ended++;
}

const struct log_stream_ops ops = {.moved = on_moved, .ended = on_ended};

int set_up(void **state)
{
    (void)state;
    route = (struct config_route){.name = "logs",
                                  .type = CONFIG_LOG,
                                  .level = LOG_LEVEL_INFO,
                                  .lines_per_second = 1000};
    memset(&counters, 0, sizeof counters);
    ended = count = 0;
    moved = 0;
    file = tmpfile();
    assert_non_null(file);
    assert_int_equal(log_open(fileno(file), LOG_LEVEL_DEBUG, LOG_FORMAT_JSON), 0);
    loopback_open(&loopback);
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    loopback_close(&loopback);
    log_close();
    for (unsigned i = 0; i < count; i++) {
        json_decref(lines[i]);
    }
    fclose(file);
    return 0;
}

void read_back(void)
{
    static char text[LOG_LINE_MAX + 2];
    log_close();
    rewind(file);
    while (fgets(text, sizeof text, file) != NULL) {
        json_error_t error;
        assert_true(count < LINES_MAX);
        lines[count] = json_loads(text, JSON_ALLOW_NUL, &error);
        if (lines[count] == NULL) {
            fail_msg("%s in %s", error.text, text);
        }
        count++;
    }
}

const char *field(unsigned line, const char *name)
{
    assert_true(line < count);
    return json_string_value(json_object_get(lines[line], name));
}

long long number(unsigned line, const char *name)
{
    return json_integer_value(json_object_get(lines[line], name));
}

bool continues(unsigned line)
{
    return json_is_true(json_object_get(lines[line], "continues"));
}

struct log_stream_source source(const char *enclave)
{
    return (struct log_stream_source){.route = &route, .enclave = enclave, .counters = &counters};
}

int start(void)
{
    int fds[2];
    struct log_stream_source from = source("payroll");
    struct sock_kind_options kind = {.kind = ADDR_TCP};
    pair_of_tcp(fds);
    log_stream_start(&stream, &loopback.loop, &ops, &from, fds[1], &kind);
    return fds[0];
}

void send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            data += n;
            length -= (size_t)n;
        }
        loopback_turn(&loopback);
    }
}

void send_text(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

void finish(int fd)
{
    close(fd);
    WAIT_FOR(&loopback, ended == 1);
    assert_int_equal(stream.why, REASON_FINISHED);
}
