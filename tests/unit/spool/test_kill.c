/*
 * kill -9, for real: a child under load is killed after a number of acknowledgements that chance says, again and again on the
 * same spool; at the end, what was acknowledged and not delivered must be there, under its own key.
 *
 *     test_spool_kill           as every build does
 *     test_spool_kill KILLS     so many, up to 500
 */
#include "spool_bench.h"
#include "spool_client.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NUMBERS 1000000U /* puts, at most; a child has STEP of them */
#define STEP    2000U

static unsigned kills = 150;

/* What is known of a number. */
enum { PUT_ACKNOWLEDGED = 1, PUT_DELIVERED = 2, PUT_PRESENT = 4 };
static unsigned char known[NUMBERS];

/* --- The child --- */

static void tell(char what, uint64_t number)
{
    char line[32];
    int size = snprintf(line, sizeof(line), "%c%llu\n", what, (unsigned long long)number);

    if (write(STDOUT_FILENO, line, (size_t)size) != size) {
        _exit(3);
    }
}

static void on_acknowledged(struct client *client, uint64_t number)
{
    (void)client;
    tell('a', number);
}

static void on_delivery(struct client *client, uint64_t number)
{
    (void)client;
    tell('d', number);
}

static int be_child(const char *path, const char *first)
{
    const struct spool_options options = {.path = path};
    struct client client = {.route = "results",
                            .next = strtoull(first, NULL, 10),
                            .on_acknowledged = on_acknowledged,
                            .on_delivery = on_delivery};
    struct error err = ERROR_INIT;
    struct spool *spool;
    int r = spool_open(&options, &spool, &err);

    if (r < 0) {
        fprintf(stderr, "start refused: %d: %s\n", r, err.text);
        return 4;
    }
    client.last = client.next + STEP;
    client.random = client.next;
    client_start(&client, spool);
    while (client.puts_active > 0) {
        client_run(&client);
    }
    client_stop(&client);
    spool_close(spool);
    return 0;
}

/* --- The parent --- */

static FILE *start(const char *path, uint64_t first, pid_t *ret_pid)
{
    char number[32];
    int pipes[2];

    snprintf(number, sizeof(number), "%llu", (unsigned long long)first);
    assert_int_equal(pipe(pipes), 0);
    *ret_pid = fork();
    assert_true(*ret_pid >= 0);
    if (*ret_pid == 0) {
        dup2(pipes[1], STDOUT_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execl("/proc/self/exe", "test_spool_kill", "--child", path, number, (char *)NULL);
        _exit(5);
    }
    close(pipes[1]);
    return fdopen(pipes[0], "r");
}

static unsigned note(FILE *lines, unsigned most)
{
    char line[64];
    unsigned acknowledged = 0;

    while (acknowledged < most && fgets(line, sizeof(line), lines)) {
        unsigned long number = strtoul(line + 1, NULL, 10);

        /* The last line of who was killed may be half a line. */
        if (!strchr(line, '\n')) {
            continue;
        }
        assert_true(number < NUMBERS);
        known[number] |= line[0] == 'a' ? PUT_ACKNOWLEDGED : PUT_DELIVERED;
        acknowledged += line[0] == 'a';
    }
    return acknowledged;
}

static void run_and_kill(const char *path, unsigned round)
{
    uint64_t first = (uint64_t)round * STEP % NUMBERS;
    unsigned most = (round * 2654435761U >> 20) % 60;
    pid_t child;
    FILE *lines = start(path, first, &child);
    int status;

    assert_non_null(lines);
    note(lines, most);
    kill(child, SIGKILL);
    note(lines, UINT32_MAX);
    fclose(lines);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        fail_msg("round %u: the child ended with %d", round, WEXITSTATUS(status));
    }
    if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL) {
        fail_msg("round %u: the child ended by signal %d", round, WTERMSIG(status));
    }
}

static void on_list(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                    const struct error *err)
{
    uint64_t *after = arg;

    (void)err;
    assert_int_equal(result, 0);
    *after = next;
    for (size_t i = 0; i < count; i++) {
        unsigned long number = strtoul(records[i].key + 1, NULL, 10);

        assert_true(number < NUMBERS);
        if (known[number] & PUT_PRESENT) {
            fail_msg("put %lu is there twice", number);
        }
        known[number] |= PUT_PRESENT;
        assert_int_equal(records[i].body_size, client_size(number));
    }
}

static void on_verified(void *arg, int result, const struct spool_verdicts *verdicts, const struct error *err)
{
    (void)err;
    assert_int_equal(result, 0);
    assert_int_equal(verdicts->damaged, 0);
    assert_false(verdicts->tally_wrong);
    *(bool *)arg = true;
}

static void compare(struct bench *bench)
{
    unsigned acknowledged = 0, lost = 0;
    uint64_t after = 0;
    bool verified = false;
    struct spool_call *call;

    bench_open(bench);
    assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
    bench_turn(bench);
    assert_true(verified);
    do {
        const struct spool_query query = {.after = after};

        assert_int_equal(spool_list(bench->port, &query, on_list, &after, &call), 0);
        bench_turn(bench);
    } while (after > 0);
    for (size_t i = 0; i < NUMBERS; i++) {
        acknowledged += (known[i] & PUT_ACKNOWLEDGED) != 0;
        lost += known[i] == PUT_ACKNOWLEDGED;
    }
    printf("R8: %u kills: %u records acknowledged, %u lost\n", kills, acknowledged, lost);
    assert_int_equal(lost, 0);
    bench_close(bench);
}

static void test_kills(void **state)
{
    struct bench bench;

    (void)state;
    bench_make(&bench);
    for (unsigned round = 0; round < kills; round++) {
        run_and_kill(bench.path, round);
    }
    compare(&bench);
    bench_remove(&bench);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kills),
    };

    if (argc == 4 && strcmp(argv[1], "--child") == 0) {
        return be_child(argv[2], argv[3]);
    }
    if (argc > 1) {
        kills = (unsigned)strtoul(argv[1], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
