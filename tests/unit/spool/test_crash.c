/*
 * The promises of spool.h, held to on a disk that fails (scorecard R8): a script of puts, takes, verdicts and operators'
 * changes is cut at one of its disk operations, by loss of power, kill -9, a failed operation, a full disk or a
 * read-only one; then the spool is opened again, and compared with what its owner was told.
 *
 *     test_spool_crash              the points that every build runs
 *     test_spool_crash FIRST COUNT  others, or one again: a failure names its point
 */
#include "lossy_vfs.h"
#include "spool_bench.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define PUTS  40
#define STEPS 60

static unsigned long first_point = 1;
static unsigned long point_count = POINTS;

/* What the owner knows of a put. */
struct sent {
    size_t size;
    bool begun;
    bool acknowledged;
    bool delivered; /* a verdict was given after which it may be gone */
    unsigned seen;
};

struct script {
    struct bench bench;
    unsigned long point;
    uint64_t random;
    struct sent sent[PUTS];
    unsigned puts;
};

static const char *const kinds[] = {"none",     "loss of power", "kill",          "one failure",
                                    "failures", "full disk",     "read-only disk"};

static struct {
    unsigned long lost, refused, strange, acknowledged, delivered;
    unsigned long by_kind[LOSSY_KINDS];
} tally;

static unsigned pick(struct script *script, unsigned most)
{
    script->random = script->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(script->random >> 33) % most;
}

static void name_key(char key[32], unsigned number)
{
    snprintf(key, 32, "key-%u", number);
}

/* The record's own number, from its key; whatever it is, its head and its body must be what was put under that key. */
static struct sent *find_sent(struct script *script, const struct spool_record *record)
{
    unsigned number = PUTS;

    if (sscanf(record->key, "key-%u", &number) != 1 || number >= script->puts ||
        !script->sent[number].begun || record->body_size != script->sent[number].size ||
        record->head_size != 6 || memcmp(record->head, "POST /", 6) != 0) {
        tally.strange++;
        return NULL;
    }
    return &script->sent[number];
}

/* --- The script --- */

static void put(struct script *script)
{
    static const size_t sizes[] = {10, 2000, 30000, SPOOL_INLINE_MAX, 70000, 200000};
    static const char *const enclaves[] = {"payroll", "fraud", "claims"};
    unsigned number = script->puts;
    struct sent *sent = &script->sent[number];
    struct bench_put put;
    char key[32], *body;

    if (number == PUTS) {
        return;
    }
    script->puts++;
    name_key(key, number);
    sent->size = sizes[pick(script, 6)];
    body = bench_body(sent->size, number);
    sent->begun = true;
    script->bench.enclave = enclaves[number / 3 % 3];
    if (bench_begin(&script->bench, &put, number % 3 ? "results" : "audit", key) == 0) {
        int r = bench_write(&script->bench, &put, body, sent->size);

        if (put.put && (r < 0 || pick(script, 8) == 0)) {
            spool_put_abort(put.put);
        } else if (put.put) {
            spool_put_commit(put.put);
        }
        bench_turn(&script->bench);
        sent->acknowledged = put.done && put.result == 0;
    }
    free(body);
}

static void check_body(struct script *script, struct bench_take *take, const struct sent *sent)
{
    char *body = bench_body(sent->size, (unsigned)(sent - script->sent));

    if (bench_read(&script->bench, take) == 0 && memcmp(take->body, body, sent->size) != 0) {
        tally.strange++;
    }
    free(body);
}

static void take(struct script *script)
{
    static const enum spool_verdict verdicts[] = {SPOOL_DONE, SPOOL_DONE, SPOOL_RETRY, SPOOL_BURY,
                                                  SPOOL_RELEASE};
    struct spool_outcome outcome = {.verdict = verdicts[pick(script, 5)], .cause = "502 Bad Gateway"};
    struct bench_take take;
    struct sent *sent = NULL;

    bench_take(&script->bench, &take, pick(script, 3) ? "results" : "audit");
    if (take.ready) {
        sent = find_sent(script, spool_take_record(take.take));
    }
    if (sent) {
        check_body(script, &take, sent);
    }
    if (sent && outcome.verdict == SPOOL_DONE) {
        sent->delivered = true;
    }
    bench_end(&script->bench, &take, &outcome);
}

static void on_altered(void *arg, int result, uint64_t count, const struct error *err)
{
    (void)arg;
    (void)result;
    (void)count;
    (void)err;
}

static void retry_all(struct script *script)
{
    const struct spool_query query = {.states = 1U << SPOOL_DEAD};
    struct spool_call *call;

    assert_int_equal(spool_retry_all(script->bench.port, &query, on_altered, NULL, &call), 0);
    bench_turn(&script->bench);
}

static void run_steps(struct script *script, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        unsigned what = pick(script, 20);

        if (what < 9) {
            put(script);
        } else if (what < 17) {
            take(script);
        } else if (what < 19) {
            bench_now += pick(script, 100000);
        } else {
            retry_all(script);
        }
    }
}

/* --- The comparison --- */

struct listing {
    struct script *script;
    uint64_t next;
    uint64_t records;
    uint64_t files;
    uint64_t by_state[SPOOL_STATES];
};

static void on_list(void *arg, int result, const struct spool_record *records, size_t count, uint64_t next,
                    const struct error *err)
{
    struct listing *listing = arg;

    (void)err;
    assert_int_equal(result, 0);
    listing->next = next;
    for (size_t i = 0; i < count; i++) {
        unsigned number = PUTS;

        if (sscanf(records[i].key, "key-%u", &number) == 1 && number < PUTS) {
            listing->script->sent[number].seen++;
        }
        listing->files += records[i].body_size > SPOOL_INLINE_MAX;
        listing->by_state[records[i].state]++;
        listing->records++;
    }
}

struct verified {
    bool done;
    int result;
    struct spool_verdicts verdicts;
};

static void on_verified(void *arg, int result, const struct spool_verdicts *verdicts, const struct error *err)
{
    struct verified *verified = arg;

    (void)err;
    *verified = (struct verified){.done = true, .result = result, .verdicts = *verdicts};
}

/* Body files whose removal failed are collected by the next start. */
static void compare(struct script *script, bool started_anew)
{
    struct bench *bench = &script->bench;
    struct listing listing = {.script = script};
    struct verified verified = {.done = false};
    struct spool_stats stats;
    struct spool_call *call;

    assert_int_equal(spool_verify(bench->port, on_verified, &verified, &call), 0);
    bench_turn(bench);
    if (!verified.done || verified.result != 0 || verified.verdicts.damaged > 0 ||
        verified.verdicts.tally_wrong) {
        fail_msg("point %lu: verifying: %d, %llu damaged, tallies %s", script->point, verified.result,
                 (unsigned long long)verified.verdicts.damaged,
                 verified.verdicts.tally_wrong ? "wrong" : "right");
    }
    do {
        const struct spool_query query = {.after = listing.next};

        assert_int_equal(spool_list(bench->port, &query, on_list, &listing, &call), 0);
        bench_turn(bench);
    } while (listing.next > 0);

    for (unsigned i = 0; i < script->puts; i++) {
        struct sent *sent = &script->sent[i];

        tally.acknowledged += sent->acknowledged;
        tally.lost += sent->acknowledged && !sent->delivered && sent->seen == 0;
        tally.strange += sent->seen > 1;
        sent->seen = 0;
    }
    if (tally.lost + tally.strange > 0) {
        fail_msg("point %lu: %lu acknowledged records lost, %lu strange", script->point, tally.lost,
                 tally.strange);
    }
    stats = bench_stats(bench, NULL);
    for (int i = 0; i < SPOOL_STATES; i++) {
        if (stats.records[i] != listing.by_state[i]) {
            fail_msg("point %lu: the gauge of %s records says %llu of %llu", script->point,
                     spool_state_word(i), (unsigned long long)stats.records[i],
                     (unsigned long long)listing.by_state[i]);
        }
    }
    if (started_anew ? bench_files(bench) != listing.files : bench_files(bench) < listing.files) {
        fail_msg("point %lu: %u body files for %llu large bodies", script->point, bench_files(bench),
                 (unsigned long long)listing.files);
    }
}

/* All that is left is delivered. */
static void drain(struct script *script)
{
    const struct spool_outcome outcome = {.verdict = SPOOL_DONE};

    retry_all(script);
    for (unsigned i = 0; i < 2; i++) {
        const char *route = i ? "results" : "audit";
        struct bench_take take;

        for (;;) {
            struct sent *sent;

            bench_now += SPOOL_DELAY_MAX_MS;
            bench_take(&script->bench, &take, route);
            if (!take.ready) {
                break;
            }
            sent = find_sent(script, spool_take_record(take.take));
            if (!sent) {
                fail_msg("point %lu: a record under another key", script->point);
            }
            check_body(script, &take, sent);
            sent->delivered = true;
            tally.delivered++;
            bench_end(&script->bench, &take, &outcome);
        }
        bench_end(&script->bench, &take, &(struct spool_outcome){.verdict = SPOOL_RELEASE});
    }
    if (bench_stats(&script->bench, NULL).records[SPOOL_READY] != 0 || bench_files(&script->bench) != 0) {
        fail_msg("point %lu: something is left behind", script->point);
    }
}

/* --- One point --- */

static void reopen(struct script *script)
{
    struct error err = ERROR_INIT;
    int r = bench_try_open(&script->bench, &err);

    if (r < 0) {
        tally.refused++;
        fail_msg("point %lu: the start was refused: %d: %s", script->point, r, err.text);
    }
    bench_turn(&script->bench);
}

static void reboot(struct script *script)
{
    char bodies[96];

    snprintf(bodies, sizeof(bodies), "%s/bodies", script->bench.path);
    lossy_reboot(bodies);
}

/* From a disk that works again: first the same process goes on, then the power is lost all the same. */
static void recover(struct script *script, struct lossy_plan *plan)
{
    if (plan->kind != LOSSY_POWER && plan->kind != LOSSY_KILL) {
        plan->kind = LOSSY_NONE;
        lossy_arm(plan);
        bench_now += 120000;
        bench_turn(&script->bench);
        run_steps(script, 5);
        compare(script, false);
        plan->kind = LOSSY_POWER;
        plan->nth = 1 + pick(script, 20);
        lossy_arm(plan);
        run_steps(script, 5);
    }
    bench_close(&script->bench);
    reboot(script);
}

static const struct lossy_plan calm = {.kind = LOSSY_NONE};

/* The first start is cut too, at every sixth point. */
static bool start(struct script *script, const struct lossy_plan *plan)
{
    struct error err;

    if (script->point % 6 == 0) {
        lossy_arm(plan);
    }
    if (bench_try_open(&script->bench, &err) < 0) {
        reboot(script);
        return false;
    }
    bench_turn(&script->bench);
    spool_set_policy(script->bench.spool, "results",
                     &(struct spool_policy){.attempts = 3, .max_age_ms = 3600000}) == 0
        ? (void)0
        : fail();
    if (script->point % 6 != 0) {
        run_steps(script, 10);
        lossy_arm(plan);
    }
    return true;
}

static void run_point(unsigned long point)
{
    struct script *script = calloc(1, sizeof(*script));
    struct lossy_plan plan = {.kind = LOSSY_POWER, .seed = point};

    assert_non_null(script);
    script->point = point;
    script->random = point * 7919;
    if (point % 2) {
        plan.kind = LOSSY_KILL + pick(script, LOSSY_KINDS - LOSSY_KILL);
    }
    plan.nth = 1 + (point / 2) % 150;
    tally.by_kind[plan.kind]++;
    bench_make(&script->bench);
    script->bench.options.vfs = LOSSY_VFS;
    if (getenv("SPOOL_TRACE")) {
        fprintf(stderr, "point %lu: %s at operation %lu\n", point, kinds[plan.kind], plan.nth);
    }
    lossy_arm(&calm);
    if (start(script, &plan)) {
        run_steps(script, STEPS);
        recover(script, &plan);
    }
    reopen(script);
    compare(script, true);
    drain(script);
    bench_close(&script->bench);
    lossy_forget();
    bench_remove(&script->bench);
    free(script);
}

static void test_what_was_acknowledged_is_kept(void **state)
{
    (void)state;
    for (unsigned long i = 0; i < point_count; i++) {
        run_point(first_point + i);
    }
    printf("R8: %lu points (%lu of them loss of power, %lu kills): %lu records acknowledged, %lu lost, %lu "
           "starts refused, "
           "%lu under another key or changed\n",
           point_count, tally.by_kind[LOSSY_POWER], tally.by_kind[LOSSY_KILL], tally.acknowledged, tally.lost,
           tally.refused, tally.strange);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_acknowledged_is_kept),
    };

    if (argc > 1) {
        first_point = strtoul(argv[1], NULL, 10);
    }
    if (argc > 1) {
        point_count = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    }
    umask(077);
    lossy_register();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
