/* See run_bench.h. */
#include "run_bench.h"

#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void on_told(void *user, const char *text)
{
    struct run_bench *bench = user;

    fault_spare(true);
    text_addf(&bench->told, "%s\n", text);
    fault_spare(false);
}

bool run_bench_told(const struct run_bench *bench, const char *text)
{
    return strstr(text_string(&bench->told), text) != NULL;
}

void run_bench_start_far(struct run_bench *bench)
{
    fault_spare(true);
    far_start(&bench->far, &bench->loop, bench->path);
    bench->far_runs = true;
    fault_spare(false);
}

void run_bench_stop_far(struct run_bench *bench)
{
    far_stop(&bench->far);
    bench->far_runs = false;
}

int run_bench_wire(struct run_bench *bench)
{
    /* Who was refused for good is not to come again during a test. */
    static const struct run_wire_times times = {.again_ms = 1,
                                                .refused_ms = 10 * 60000,
                                                .redial_min_ms = 1,
                                                .redial_max_ms = 2};
    struct addr to;
    struct error err = ERROR_INIT;
    char address[80];
    int code;

    snprintf(address, sizeof address, "unix://%s", bench->path);
    assert_int_equal(addr_parse(address, &to, &err), 0);
    code = run_wire_init(&bench->wire, &bench->loop, &to, &times, &bench->tell, &err);
    bench->wire_made = code == 0;
    return code;
}

void run_bench_start(struct run_bench *bench)
{
    struct error err = ERROR_INIT;

    memset(bench, 0, sizeof *bench);
    bench->tell = (struct tell){.line = on_told, .user = bench};
    strcpy(bench->folder, "/tmp/postern-run.XXXXXX");
    assert_non_null(mkdtemp(bench->folder));
    snprintf(bench->path, sizeof bench->path, "%s/daemon", bench->folder);
    assert_int_equal(cli_loop_init(&bench->loop, &err), 0);
    run_bench_start_far(bench);
    assert_int_equal(run_bench_wire(bench), 0);
}

void run_bench_stop(struct run_bench *bench)
{
    if (bench->wire_made) {
        run_wire_release(&bench->wire);
    }
    if (bench->far_runs) {
        far_stop(&bench->far);
    }
    cli_loop_release(&bench->loop);
    text_release(&bench->told);
    rmdir(bench->folder);
}
