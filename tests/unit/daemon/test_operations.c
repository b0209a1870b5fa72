/* docs/operations.md and the alerts against the code: nothing is told that is not there, and nothing is left out. */
#include "ctl/ends.h"
#include "daemon/admin.h"
#include "daemon/metrics.h"
#include "daemon/status.h"
#include "fake_control.h"
#include "forward/verdict.h"
#include <ctype.h>
#include <jansson.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

#define DOCUMENT PROJECT_DIR "/docs/operations.md"
#define ALERTS   PROJECT_DIR "/conf/prometheus-alerts.yaml"
#define CASES    PROJECT_DIR "/tests/unit/daemon/alerts.test.yaml"

static struct server server;
static struct text metrics;

static char *read_file(const char *name)
{
    FILE *file = fopen(name, "re");
    assert_non_null(file);
    char *content = calloc(1, 1 << 20);
    assert_non_null(content);
    assert_true(fread(content, 1, (1 << 20) - 1, file) > 0);
    assert_true(feof(file));
    fclose(file);
    return content;
}

/* With a spool, since its metrics are there only then. */
static int write_metrics(void)
{
    char folder[] = "/tmp/postern-test-XXXXXX", path[64], command[96];
    const struct spool_options options = {.path = path, .manual = true};
    struct error err = ERROR_INIT;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof path, "%s/spool", folder);
    if (spool_open(&options, &server.spool.spool, &err) != 0) {
        return -1;
    }
    server.view.spool = &server.spool;
    metrics_write(&server.view, &metrics);
    spool_close(server.spool.spool);
    server.view.spool = NULL;
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static int setup(void **state)
{
    text_init(&metrics, 0);
    if (!fake_init(&server) || write_metrics() != 0) {
        return -1;
    }
    *state = read_file(DOCUMENT);
    return metrics.failed ? -1 : 0;
}

static int teardown(void **state)
{
    free(*state);
    text_release(&metrics);
    fake_release(&server);
    return 0;
}

static void expect(const char *document, const char *what)
{
    if (strstr(document, what) == NULL) {
        fail_msg("docs/operations.md lacks: %s", what);
    }
}

static void every_metric_is_documented(void **state)
{
    char name[128], wanted[136];
    for (const char *at = metrics.data; (at = strstr(at, "# HELP ")) != NULL; at++) {
        assert_int_equal(sscanf(at, "# HELP %127s", name), 1);
        snprintf(wanted, sizeof wanted, "`%s", name);
        expect(*state, wanted);
    }
}

/* Every word that begins with postern_ in the text names a family that exists. */
static void expect_metrics_exist(const char *text)
{
    for (const char *at = text; (at = strstr(at, "postern_")) != NULL;) {
        char name[128], family[136];
        size_t length = 0;
        while ((isalnum((unsigned char)at[length]) || at[length] == '_') && length < sizeof name - 1) {
            length++;
        }
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        char *bucket = strstr(name, "_bucket");
        if (bucket != NULL) {
            *bucket = '\0';
        }
        snprintf(family, sizeof family, "# TYPE %s ", name);
        if (strstr(metrics.data, family) == NULL) {
            fail_msg("there is no metric %s", name);
        }
        at += length;
    }
}

static void every_documented_metric_exists(void **state)
{
    expect_metrics_exist(*state);
}

static void every_reason_is_documented(void **state)
{
    static const char *const kinds[] = {"end",   "policy", "dns",      "connect",
                                        "limit", "time",   "shutdown", "internal"};
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        enum reason reason = (enum reason)i;
        struct text row;
        text_init(&row, 0);
        text_addf(&row, "\n| `%s` | %s | %s | %s | %s |\n", reason_word(reason), kinds[reason_kind(reason)],
                  reason_retryable(reason) ? "yes" : "no", reason_meaning(reason), reason_advice(reason));
        expect(*state, text_string(&row));
        text_release(&row);
    }
}

static void expect_end(const char *document, const struct end_words *end)
{
    struct text row;
    text_init(&row, 0);
    text_addf(&row, "\n| `%s` | %s | %s |\n", end->code, end->meaning, end->advice);
    expect(document, text_string(&row));
    text_release(&row);
}

/* Every word that the end of a session can have in the log and the metrics. */
static void every_end_of_a_session_is_documented(void **state)
{
    assert_int_equal(session_end_count, SESSION_CODE_COUNT);
    for (size_t i = 0; i < session_end_count; i++) {
        assert_string_equal(session_ends[i].code, session_code_word((enum session_code)i));
        expect_end(*state, &session_ends[i]);
    }
}

/* And that of a delivery, behind the one that says that it is to be delivered. */
static void every_end_of_a_delivery_is_documented(void **state)
{
    assert_int_equal(delivery_end_count, 1 + VERDICT_OUTCOMES);
    for (size_t i = 0; i < delivery_end_count; i++) {
        assert_string_equal(delivery_ends[i].code,
                            i == 0 ? "kept" : verdict_word((enum verdict_outcome)(i - 1)));
        expect_end(*state, &delivery_ends[i]);
    }
}

static void expect_members(const char *document, json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (strcmp(key, "ended") != 0 && strcmp(key, "to_by_sni") != 0) {
            expect(document, key);
        }
        if (json_is_object(value)) {
            expect_members(document, value);
        } else if (json_is_array(value) && json_is_object(json_array_get(value, 0))) {
            expect_members(document, json_array_get(value, 0));
        }
    }
}

static void every_member_of_the_status_is_documented(void **state)
{
    struct text text;
    text_init(&text, 0);
    assert_int_equal(status_write(&server.view, &text), 0);
    json_t *status = json_loads(text.data, 0, NULL);
    assert_non_null(status);
    expect_members(strstr(*state, "## Status"), status);
    json_decref(status);
    text_release(&text);
}

static void every_page_is_documented(void **state)
{
    static const char *const pages[] = {"/metrics", "/healthz", "/readyz",   "/status",
                                        "/reload",  "/drain",   "/spool/..."};
    for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
        char row[32];
        snprintf(row, sizeof row, "\n| `%s` | ", pages[i]);
        expect(*state, row);
    }
}

/* Whether a request's outcome is among those that the alert looks at. */
static bool is_among(const char *alerts, const char *alert, const char *outcome)
{
    static const char before[] = "postern_requests_total{outcome=~\"";
    char pattern[1024];
    regex_t regex;
    const char *at = strstr(alerts, alert);
    assert_non_null(at);
    at = strstr(at, before);
    assert_non_null(at);
    at += sizeof before - 1;
    snprintf(pattern, sizeof pattern, "^(%.*s)$", (int)strcspn(at, "\""), at);
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool matches = regexec(&regex, outcome, 0, NULL, 0) == 0;
    regfree(&regex);
    return matches;
}

/* An enclave cannot mend what is answered by 5xx, but for 501 and 505, which say what is not spoken here; nor an address. The spool
 * has alerts of its own. */
static bool is_failure(enum http_refusal refusal)
{
    unsigned status = http_refusal_status(refusal);
    if (refusal == HTTP_REFUSED_SPOOL_FULL || refusal == HTTP_REFUSED_SPOOL_UNAVAILABLE) {
        return false;
    }
    return (status >= 500 && status != 501 && status != 505) || refusal == HTTP_REFUSED_DENIED_ADDRESS;
}

/* What policy denies is the caller's doing, but for an address, which is where the upstream's name leads. */
static bool is_denial(enum http_refusal refusal)
{
    return strncmp(http_refusal_word(refusal), "denied_", strlen("denied_")) == 0 &&
           refusal != HTTP_REFUSED_DENIED_ADDRESS;
}

static void expect_among(const char *alerts, const char *alert, enum http_refusal refusal, bool wanted)
{
    if (is_among(alerts, alert, http_refusal_word(refusal)) != wanted) {
        fail_msg("%s %s %s", alert, wanted ? "misses" : "must not have", http_refusal_word(refusal));
    }
}

static void every_request_that_fails_or_is_denied_sets_off_an_alert(void **state)
{
    (void)state;
    char *alerts = read_file(ALERTS);
    for (unsigned i = HTTP_REFUSED_NONE + 1; i < HTTP_REFUSED_COUNT; i++) {
        enum http_refusal refusal = (enum http_refusal)i;
        expect_among(alerts, "PosternRequestsFail", refusal, is_failure(refusal));
        if (is_denial(refusal) || is_failure(refusal)) {
            expect_among(alerts, "PosternRequestsDenied", refusal, is_denial(refusal));
        }
    }
    free(alerts);
}

static void expect_promtool_agrees(const char *command)
{
    int status = system(command);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("%s: exit status %d", command, status);
    }
}

static void alerts_are_sound(void **state)
{
    char *alerts = read_file(ALERTS);
    char name[64], row[80];
    expect_metrics_exist(alerts);
    for (const char *at = alerts; (at = strstr(at, "- alert: ")) != NULL; at++) {
        assert_int_equal(sscanf(at, "- alert: %63s", name), 1);
        snprintf(row, sizeof row, "\n| `%s` | ", name);
        expect(*state, row);
    }
    free(alerts);
    if (system("command -v promtool >/dev/null") != 0) {
        print_message(
            "SKIPPED: promtool is not installed (package prometheus), the alerts were not checked\n");
        skip();
    }
    expect_promtool_agrees("promtool check rules " ALERTS " >/dev/null");
    expect_promtool_agrees("promtool test rules " CASES " >/dev/null");
}

#define WITH_DOCUMENT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DOCUMENT(every_metric_is_documented),
        WITH_DOCUMENT(every_documented_metric_exists),
        WITH_DOCUMENT(every_reason_is_documented),
        WITH_DOCUMENT(every_member_of_the_status_is_documented),
        WITH_DOCUMENT(every_page_is_documented),
        WITH_DOCUMENT(alerts_are_sound),
        WITH_DOCUMENT(every_end_of_a_session_is_documented),
        WITH_DOCUMENT(every_end_of_a_delivery_is_documented),
        WITH_DOCUMENT(every_request_that_fails_or_is_denied_sets_off_an_alert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
