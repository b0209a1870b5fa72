/* The daemon whole, in a test: see server_bench.h. */
#include "server_bench.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct server_bench bench = {.folder = "/tmp/postern-server-XXXXXX"};

static void on_started(void)
{
    bench.started++;
    if (bench.inside != NULL) {
        bench.inside();
    }
}

static void on_start_failed(const char *text)
{
    bench.failed++;
    snprintf(bench.failure, sizeof bench.failure, "%s", text);
}

void write_config(const char *names, const char *more)
{
    FILE *out = fopen(bench.file, "we");
    assert_non_null(out);
    fprintf(out, "version: 1\nworkers: 2\nlog: {level: info}\nmetrics: {listen: none}\n%s", more);
    fprintf(out, "enclaves: {payroll: {cid: 16}}\nlisteners:\n");
    for (const char *name = names; *name != '\0'; name++) {
        if (*name == 'u' || *name == 'x') {
            fprintf(out, "  %c: {listen: \"unix://%s/%s\", route: r, allow: any}\n", *name, bench.folder,
                    *name == 'u' ? "sock" : "missing/sock");
        } else {
            fprintf(out, "  %c: {listen: \"tcp://127.0.0.1:%u\", route: r, allow: any}\n", *name,
                    bench.ports[*name - 'a']);
        }
    }
    fprintf(out, "routes:\n  r: {type: relay, to: \"tcp://127.0.0.1:%u\"}\n", bench.upstream.port);
    fclose(out);
}

struct config *load_config(void)
{
    struct config *config = NULL;
    struct diags diags;
    diags_init(&diags, bench.file);
    if (config_load(bench.file, &config, &diags) != 0) {
        struct text said = TEXT_INIT;
        diags_format(&diags, &said);
        fail_msg("%s", text_string(&said));
    }
    diags_release(&diags);
    return config;
}

/* What the daemon logs is not for the test's output. */
int run_config(struct config *config, void (*then)(void), const char *config_file)
{
    struct server_options options = {.config = config,
                                     .config_file = config_file,
                                     .started = on_started,
                                     .start_failed = on_start_failed};
    bench.started = bench.failed = 0;
    bench.inside = then;
    bench.failure[0] = '\0';
    dup2(bench.null_fd, STDERR_FILENO);
    int code = server_run(&options);
    dup2(bench.stderr_fd, STDERR_FILENO);
    bench.server = NULL;
    assert_int_equal(bench.started + bench.failed, 1); /* one of them, once */
    assert_int_equal(code, bench.started == 1 ? 0 : 1);
    return code;
}

int run_server(void (*then)(void))
{
    return run_config(load_config(), then, bench.file);
}

int reload(const char *words)
{
    struct text verdict = TEXT_INIT;
    int rv = server_reload(bench.server, &verdict);
    if (words != NULL && strstr(text_string(&verdict), words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text_string(&verdict), words);
    }
    text_release(&verdict);
    return rv;
}

void drain(void)
{
    server_drain(bench.server, 0);
}

bool exists(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", bench.folder, name);
    return access(path, F_OK) == 0;
}

void sleep_ms(unsigned ms)
{
    usleep(ms * 1000);
}

void remove_sockets(void)
{
    static const char *const names[] = {"sock", "admin"};
    char path[128];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof path, "%s/%s", bench.folder, names[i]);
        unlink(path);
    }
}

int server_bench_open(void **state)
{
    (void)state;
    if (mkdtemp(bench.folder) == NULL) {
        return -1;
    }
    snprintf(bench.file, sizeof bench.file, "%s/postern.yaml", bench.folder);
    snprintf(bench.admin_line, sizeof bench.admin_line, "admin: {listen: \"unix://%s/admin\"}\n",
             bench.folder);
    upstream_start(&bench.upstream);
    for (size_t i = 0; i < ARRAY_SIZE(bench.ports); i++) {
        bench.ports[i] = quiet_port();
    }
    bench.null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    bench.stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    return 0;
}

int server_bench_close(void **state)
{
    (void)state;
    upstream_stop(&bench.upstream);
    close(bench.null_fd);
    close(bench.stderr_fd);
    unlink(bench.file);
    return rmdir(bench.folder);
}

/* ---- What fails on purpose, and what tells where the server is ---- */

int __real_uv_loop_init(uv_loop_t *loop);
int __wrap_uv_loop_init(uv_loop_t *loop);
int __real_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb);
int __real_uv_mutex_init(uv_mutex_t *mutex);
int __wrap_uv_mutex_init(uv_mutex_t *mutex);
int __real_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int number);
int __wrap_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int number);
int __real_worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                            struct error *err);
int __wrap_worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                            struct error *err);

/* libuv 1.44 leaks a descriptor when eventfd() fails in uv_loop_init(), so it fails here as a whole. */
int __wrap_uv_loop_init(uv_loop_t *loop)
{
    return fault_strikes(FAULT_OWN) ? UV_EMFILE : __real_uv_loop_init(loop);
}

int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb cb)
{
    return fault_strikes(FAULT_OWN) ? UV_EMFILE : __real_uv_async_init(loop, async, cb);
}

int __wrap_uv_mutex_init(uv_mutex_t *mutex)
{
    return fault_strikes(FAULT_OWN) ? UV_ENOMEM : __real_uv_mutex_init(mutex);
}

int __wrap_uv_signal_start(uv_signal_t *handle, uv_signal_cb cb, int number)
{
    return fault_strikes(FAULT_OWN) ? UV_EINVAL : __real_uv_signal_start(handle, cb, number);
}

int __wrap_worker_set_start(struct worker_set *set, unsigned count, const struct config *config,
                            struct error *err)
{
    bench.server = set->data;
    return __real_worker_set_start(set, count, config, err);
}
