/* explain: every reason has words, and questions about policy get the daemon's own answer with its line. */
#include "base/reason.h"
#include "contains.h"
#include "ctl/ends.h"
#include "http/refusal.h"
#include "run_ctl.h"
#include <jansson.h>
#include <setjmp.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char file[] = "/tmp/posternctl-explain-XXXXXX";

static const char config[] =
    "version: 1\n"                                                      /* 1 */
    "enclaves:\n"                                                       /* 2 */
    "  payroll: {cid: 16}\n"                                            /* 3 */
    "  fraud: {cid: 17}\n"                                              /* 4 */
    "listeners:\n"                                                      /* 5 */
    "  kms-raw:\n"                                                      /* 6 */
    "    listen: vsock://any:8000\n"                                    /* 7 */
    "    route: kms\n"                                                  /* 8 */
    "    allow: [payroll]\n"                                            /* 9 */
    "  dev:\n"                                                          /* 10 */
    "    listen: unix:///run/postern/dev.sock\n"                        /* 11 */
    "    route: aws\n"                                                  /* 12 */
    "    peer: fraud\n"                                                 /* 13 */
    "    allow: [fraud]\n"                                              /* 14 */
    "  open: {listen: \"tcp://127.0.0.1:1\", route: pub, allow: any}\n" /* 15 */
    "  session: {listen: \"vsock://any:7000\", protocol: framed, allow: {payroll: [logs, time, aws, web, in, "
    "kept], fraud: "
    "[aws]}}\n"                                                                      /* 16 */
    "routes:\n"                                                                      /* 17 */
    "  kms:\n"                                                                       /* 18 */
    "    type: relay\n"                                                              /* 19 */
    "    to: tcp://kms.us-east-1.amazonaws.com:443\n"                                /* 20 */
    "    sni: [kms.us-east-1.amazonaws.com]\n"                                       /* 21 */
    "  aws: {type: relay, to: sni, sni: [\"*.amazonaws.com\"], port: 8443}\n"        /* 22 */
    "  pub: {type: relay, to: {sni: {pay.example.com: \"vsock://payroll:8443\"}}}\n" /* 23 */
    "  alone: {type: relay, to: \"tcp://127.0.0.1:9\"}\n"                            /* 24 */
    "  logs: {type: log}\n"                                                          /* 25 */
    "  time: {type: time}\n"                                                         /* 26 */
    "  web: {type: connect, hosts: [\"api.example.com:443\", \"*.s3.test:444\"]}\n"  /* 27 */
    "  in: {type: forward, to: \"https://a.test/v1\", methods: [PUT, POST]}\n"       /* 28 */
    "  kept: {type: forward, to: \"http://a.test\", delivery: spool}\n";             /* 29 */

static int write_config(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    if (fd < 0 || write(fd, config, sizeof config - 1) != (ssize_t)sizeof config - 1) {
        return -1;
    }
    return close(fd);
}

static int remove_config(void **state)
{
    (void)state;
    return unlink(file);
}

static void every_reason_is_explained(void **state)
{
    (void)state;
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        struct ran ran;
        run_ctl(&ran, "explain", reason_word((enum reason)i), NULL);
        assert_int_equal(ran.code, CTL_DONE);
        assert_contains(ran.out, reason_meaning((enum reason)i));
        assert_contains(ran.out, reason_advice((enum reason)i));
        assert_contains(ran.out, reason_retryable((enum reason)i) ? "may help" : "does not help");
        ran_release(&ran);
        run_ctl(&ran, "explain", "--json", reason_word((enum reason)i), NULL);
        json_t *json = json_loads(ran.out, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(json, "code")), reason_word((enum reason)i));
        assert_non_null(json_string_value(json_object_get(json, "kind")));
        json_decref(json);
        ran_release(&ran);
    }
}

static void all_reasons_are_listed(void **state)
{
    (void)state;
    struct ran ran, json_ran;
    run_ctl(&ran, "explain", NULL);
    run_ctl(&json_ran, "explain", "--json", NULL);
    json_t *json = json_loads(json_ran.out, 0, NULL);
    assert_int_equal(json_array_size(json),
                     REASON_COUNT + session_end_count + delivery_end_count + HTTP_REFUSED_COUNT - 1);
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        assert_contains(ran.out, reason_word((enum reason)i));
    }
    for (size_t i = 0; i < session_end_count; i++) {
        assert_contains(ran.out, session_ends[i].code);
    }
    for (size_t i = 0; i < delivery_end_count; i++) {
        assert_contains(ran.out, delivery_ends[i].code);
    }
    json_decref(json);
    ran_release(&ran);
    ran_release(&json_ran);
}

static void check_ends(const struct end_words *ends, size_t count, const char *kind)
{
    char of[32];
    snprintf(of, sizeof of, ", of a %s: ", kind);
    for (size_t i = 0; i < count; i++) {
        struct ran ran;
        run_ctl(&ran, "explain", ends[i].code, NULL);
        assert_int_equal(ran.code, CTL_DONE);
        assert_contains(ran.out, of);
        assert_contains(ran.out, ends[i].advice);
        ran_release(&ran);
        run_ctl(&ran, "explain", "--json", ends[i].code, NULL);
        json_t *json = json_loads(ran.out, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(json, "kind")), kind);
        assert_string_equal(json_string_value(json_object_get(json, "meaning")), ends[i].meaning);
        json_decref(json);
        ran_release(&ran);
    }
}

static void every_end_is_explained(void **state)
{
    (void)state;
    check_ends(session_ends, session_end_count, "session");
    check_ends(delivery_ends, delivery_end_count, "delivery");
}

static void every_refusal_of_a_request_is_explained(void **state)
{
    (void)state;
    for (unsigned i = HTTP_REFUSED_NONE + 1; i < HTTP_REFUSED_COUNT; i++) {
        struct ran ran;
        run_ctl(&ran, "explain", http_refusal_word((enum http_refusal)i), NULL);
        assert_int_equal(ran.code, CTL_DONE);
        assert_contains(ran.out, http_refusal_meaning((enum http_refusal)i));
        assert_contains(ran.out, http_refusal_advice((enum http_refusal)i));
        ran_release(&ran);
    }
    struct ran ran;
    run_ctl(&ran, "explain", "--json", "both_lengths", NULL);
    json_t *json = json_loads(ran.out, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "kind")), "request");
    assert_int_equal(json_integer_value(json_object_get(json, "status")), 400);
    json_decref(json);
    ran_release(&ran);
}

/* The word of a stream's end and of a request's: both meanings are told. */
static void a_word_may_have_two_meanings(void **state)
{
    (void)state;
    struct ran ran;
    run_ctl(&ran, "explain", "no_memory", NULL);
    assert_contains(ran.out, reason_advice(REASON_NO_MEMORY));
    assert_contains(ran.out, "no_memory, of a request, answered with 503: ");
    ran_release(&ran);
}

static void unknown_reasons_are_told(void **state)
{
    (void)state;
    struct ran ran;
    run_ctl(&ran, "explain", "denied_sin", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "did you mean denied_sni? ");
    ran_release(&ran);
    run_ctl(&ran, "explain", "lots", NULL);
    assert_contains(ran.err, "did you mean lost? ");
    ran_release(&ran);
    run_ctl(&ran, "explain", "xyzzy", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "there is no reason \"xyzzy\"; `posternctl explain` lists them all");
    ran_release(&ran);
}

struct sample {
    const char *enclave, *route, *sni;
    int code;
    const char *verdict; /* how the answer begins */
    const char *lines[3];
};

static void check(const struct sample *sample)
{
    struct ran ran;
    run_ctl(&ran, "explain", "--config", file, "--enclave", sample->enclave, "--route", sample->route,
            sample->sni != NULL ? "--sni" : NULL, sample->sni, NULL);
    if (ran.code != sample->code || strncmp(ran.out, sample->verdict, strlen(sample->verdict)) != 0) {
        fail_msg("%s to %s: %d\n%s%s", sample->enclave, sample->route, ran.code, ran.out, ran.err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(sample->lines) && sample->lines[i] != NULL; i++) {
        assert_contains(ran.out, sample->lines[i]);
    }
    ran_release(&ran);
}

static void policy_is_explained_with_its_line(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"payroll",
         "kms",
         "kms.us-east-1.amazonaws.com",
         0,
         "allowed\n",
         {":9: enclave payroll on listener kms-raw (vsock://any:8000): `allow` lets it in",
          ":21: server name kms.us-east-1.amazonaws.com is allowed by \"kms.us-east-1.amazonaws.com\"",
          "it leads to tcp://kms.us-east-1.amazonaws.com:443"}},
        {"payroll",
         "kms",
         NULL,
         0,
         "allowed\n",
         {"is one of 1; ask again with --sni NAME", "`allow_private` is false"}},
        {"payroll",
         "kms",
         "s3.amazonaws.com",
         1,
         "refused: denied_sni\n",
         {":18: server name s3.amazonaws.com is none of those that route kms allows", "What to do: "}},
        {"fraud", "kms", NULL, 1, "refused: denied_route\n", {":9: ", "does not have it in the list"}},
        {"payroll",
         "aws",
         NULL,
         0,
         "allowed\n",
         {":10: listener dev (unix:///run/postern/dev.sock) leads there, but its callers count as fraud, its "
          "`peer`",
          ":16: enclave payroll on listener session (vsock://any:7000): "
          "`allow` gives it the route"}},
        {"payroll",
         "logs",
         NULL,
         0,
         "allowed\n",
         {":16: ", ":25: the lines of route logs go to the daemon's log"}},
        {"payroll", "time", NULL, 0, "allowed\n", {":16: ", ":26: route time tells the time"}},
        {"fraud",
         "logs",
         NULL,
         1,
         "refused: denied_route\n",
         {":16: ", "`allow` does not give it the route"}},
        {"fraud",
         "aws",
         "s3.amazonaws.com",
         0,
         "allowed\n",
         {":22: server name s3.amazonaws.com is allowed by \"*.amazonaws.com\"",
          "leads to tcp://s3.amazonaws.com:8443"}},
        {"fraud", "aws", NULL, 0, "allowed\n", {"leads to tcp://NAME:8443"}},
        {"payroll",
         "pub",
         "pay.example.com",
         0,
         "allowed\n",
         {":15: ", "and everybody else too", "leads to vsock://16:8443"}},
        {"payroll", "pub", NULL, 0, "allowed\n", {"is one of 1"}},
        {"payroll", "web", NULL, 0, "allowed\n", {":27: ", "ask again with --sni HOST"}},
        {"payroll",
         "web",
         "API.example.com",
         0,
         "allowed\n",
         {":27: API.example.com is allowed by \"api.example.com\", port 443"}},
        {"payroll", "web", "b.s3.test:444", 0, "allowed\n", {"allowed by \"*.s3.test\", port 444"}},
        {"payroll",
         "web",
         "b.s3.test",
         1,
         "refused: denied_host\n",
         {":27: b.s3.test is none", "What to do: "}},
        {"payroll", "web", "b.s3.test:x", 1, "refused: denied_host\n", {"is none of the hosts"}},
        {"payroll",
         "in",
         NULL,
         0,
         "allowed\n",
         {":28: its requests go to https://a.test/v1\n", "of the methods, POST, PUT pass"}},
        {"payroll", "kept", NULL, 0, "allowed\n", {"go to http://a.test, once they are in the spool"}},
        {"payroll",
         "alone",
         NULL,
         1,
         "refused: denied_route\n",
         {":24: no listener leads to route alone", "What to do: give it a listener"}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        check(&samples[i]);
    }
}

/* It is not the caller's CID that is unknown. */
static void a_listener_for_other_callers(void **state)
{
    static const char text[] =
        "version: 1\n"
        "enclaves: {payroll: {cid: 16}, fraud: {cid: 17}}\n"
        "listeners:\n"
        "  dev: {listen: \"unix:///run/postern/dev.sock\", route: kms, peer: fraud, allow: [fraud]}\n"
        "routes:\n"
        "  kms: {type: relay, to: \"tcp://127.0.0.1:9\"}\n";
    char path[] = "/tmp/posternctl-explain-XXXXXX";
    struct ran ran;
    (void)state;
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    run_ctl(&ran, "--config", path, "explain", "--enclave", "payroll", "--route", "kms", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.out, "refused: denied_enclave\n");
    assert_contains(
        ran.out,
        ":4: listener dev (unix:///run/postern/dev.sock) leads there, but its callers count as fraud");
    assert_contains(ran.out, "What to do: set `peer:` on that listener");
    ran_release(&ran);
    unlink(path);
}

static void policy_as_json(void **state)
{
    (void)state;
    struct ran ran;
    run_ctl(&ran, "--json", "--config", file, "explain", "--enclave", "fraud", "--route", "kms", NULL);
    json_t *json = json_loads(ran.out, 0, NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_true(json_is_false(json_object_get(json, "allowed")));
    assert_string_equal(json_string_value(json_object_get(json, "reason")), "denied_route");
    json_decref(json);
    ran_release(&ran);
    run_ctl(&ran, "--json", "--config", file, "explain", "--enclave", "payroll", "--route", "kms", NULL);
    json = json_loads(ran.out, 0, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_true(json_is_null(json_object_get(json, "reason")));
    json_decref(json);
    ran_release(&ran);
}

static void wrong_questions_are_told(void **state)
{
    (void)state;
    struct ran ran;
    run_ctl(&ran, "explain", "--config", file, "--enclave", "nobody", "--route", "kms", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "has no enclave \"nobody\"");
    ran_release(&ran);
    run_ctl(&ran, "explain", "--config", file, "--enclave", "payroll", "--route", "x", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "has no route \"x\"\n");
    ran_release(&ran);
    run_ctl(&ran, "explain", "--config", file, "--enclave", "payrol", "--route", "kms", NULL);
    assert_contains(ran.err, "has no enclave \"payrol\": did you mean payroll?");
    ran_release(&ran);
    run_ctl(&ran, "explain", "--config", file, "--enclave", "payroll", "--route", "alon", NULL);
    assert_contains(ran.err, "has no route \"alon\": did you mean alone?");
    ran_release(&ran);
    run_ctl(&ran, "explain", "--enclave", "payroll", NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    ran_release(&ran);
    run_ctl(&ran, "explain", "finished", "internal", NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    ran_release(&ran);
    run_ctl(&ran, "explain", "--frobnicate", NULL);
    assert_int_equal(ran.code, CTL_USAGE);
    ran_release(&ran);
    run_ctl(&ran, "explain", "--config", "/nonexistent.yaml", "--enclave", "a", "--route", "b", NULL);
    assert_int_equal(ran.code, CTL_FAILED);
    assert_contains(ran.err, "the configuration cannot be used:\n/nonexistent.yaml");
    ran_release(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_is_explained),
        cmocka_unit_test(all_reasons_are_listed),
        cmocka_unit_test(every_end_is_explained),
        cmocka_unit_test(every_refusal_of_a_request_is_explained),
        cmocka_unit_test(a_word_may_have_two_meanings),
        cmocka_unit_test(unknown_reasons_are_told),
        cmocka_unit_test(policy_is_explained_with_its_line),
        cmocka_unit_test(a_listener_for_other_callers),
        cmocka_unit_test(policy_as_json),
        cmocka_unit_test(wrong_questions_are_told),
    };
    return cmocka_run_group_tests(tests, write_config, remove_config);
}
