/* Requests on their way into the spool. */
#include "intake_head.h"
#include "spool_fixture.h"
#include <errno.h>

struct client {
    struct intake intake;
    struct intake_head head;
    unsigned wants, continues, ends;
    struct intake_end end;
    char key[INTAKE_KEY_MAX + 1];
    char detail[ERROR_TEXT_MAX];
    bool cancel_on_end;
    struct client *other; /* cancelled from inside of end() */
};

static struct client *of(struct intake *intake)
{
    return CONTAINER_OF(intake, struct client, intake);
}

static void on_want(struct intake *intake)
{
    of(intake)->wants++;
}

static void on_go_on(struct intake *intake)
{
    of(intake)->continues++;
}

static void on_end(struct intake *intake, const struct intake_end *end)
{
    struct client *client = of(intake);
    client->ends++;
    client->end = *end;
    snprintf(client->key, sizeof client->key, "%s", end->key != NULL ? end->key : "");
    snprintf(client->detail, sizeof client->detail, "%s", end->detail != NULL ? end->detail : "");
    client->end.key = client->key;
    client->end.detail = client->detail;
    if (client->other != NULL) {
        intake_cancel(&client->other->intake);
        client->other = NULL;
    }
}

static const struct intake_ops ops = {.want = on_want, .go_on = on_go_on, .end = on_end};

/* Judges `head`, whose body follows by intake_body(). */
static void begin(struct fixture *fixture, struct client *client, const char *head)
{
    memset(client, 0, sizeof *client);
    intake_head_read(&client->head, head);
    intake_start(&client->intake, &fixture->spool, &ops, &client->head.route, &client->head.request,
                 &client->head.values);
    assert_int_equal(client->ends + client->continues, 0);
}

static void leave(struct client *client)
{
    intake_head_release(&client->head);
}

static void give(struct fixture *fixture, struct client *client, const char *data, size_t size)
{
    while (size > 0) {
        size_t taken = intake_body(&client->intake, data, size);
        data += taken;
        size -= taken;
        fixture_turn(fixture);
    }
}

static void finish(struct fixture *fixture, struct client *client)
{
    intake_body_end(&client->intake);
    assert_int_equal(client->ends, 0);
    fixture_turn(fixture);
    assert_int_equal(client->ends, 1);
}

#define POST "POST /a%20b?q=1 HTTP/1.1\r\nHost: Store.example\r\nX-Mine: 1\r\nConnection: close\r\n"

static void a_request_becomes_a_record(void **state)
{
    struct fixture fixture;
    struct client client;
    struct bench_take take;
    struct intake_origin origin;
    (void)state;
    fixture_open(&fixture);
    begin(&fixture, &client, POST "Idempotency-Key: run-7\r\nContent-Length: 5\r\n\r\n");
    give(&fixture, &client, "hello", 5);
    finish(&fixture, &client);
    assert_int_equal(client.end.why, HTTP_REFUSED_NONE);
    assert_string_equal(client.key, "run-7");
    bench_look(&fixture.bench, &take, client.end.id);
    const struct spool_record *record = spool_take_record(take.take);
    assert_string_equal(record->route, "results");
    assert_string_equal(record->enclave, "payroll");
    assert_string_equal(record->key, "run-7");
    assert_int_equal(record->body_size, 5);
    const char expected[] =
        "postern-spool/1 cid=16 request=id-1\r\n"
        "POST /a%20b?q=1 HTTP/1.1\r\nhost: Store.example\r\nx-mine: 1\r\nidempotency-key: run-7\r\n\r\n";
    assert_int_equal(record->head_size, sizeof expected - 1);
    assert_memory_equal(record->head, expected, sizeof expected - 1);
    assert_true(intake_origin_read(record->head, record->head_size, &origin));
    assert_int_equal(origin.cid, 16);
    assert_string_equal(origin.request_id, "id-1");
    assert_int_equal(origin.head_at, strlen("postern-spool/1 cid=16 request=id-1\r\n"));
    bench_verdict(&fixture.bench, &take, SPOOL_RELEASE);
    leave(&client);
    fixture_close(&fixture);
}

static void keys_that_are_none_are_replaced(void **state)
{
    struct fixture fixture;
    struct client client;
    char head[1000], last[INTAKE_KEY_MAX + 1] = "", longest[300];
    (void)state;
    memset(longest, 'k', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const keys[] = {"", "Idempotency-Key: a b\r\n", "Idempotency-Key:\r\n",
                                "Idempotency-Key: a\r\nIdempotency-Key: b\r\n", NULL};
    fixture_open(&fixture);
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i] != NULL) {
            snprintf(head, sizeof head, "%s%sContent-Length: 0\r\n\r\n", POST, keys[i]);
        } else {
            snprintf(head, sizeof head, "%sIdempotency-Key: %s\r\nContent-Length: 0\r\n\r\n", POST, longest);
        }
        begin(&fixture, &client, head);
        finish(&fixture, &client);
        assert_int_equal(client.end.why, HTTP_REFUSED_NONE);
        assert_int_equal(strlen(client.key), 36);
        assert_int_equal(client.key[14], '4');
        assert_string_not_equal(client.key, last);
        snprintf(last, sizeof last, "%s", client.key);
        leave(&client);
    }
    fixture_close(&fixture);
}

static void a_large_body_streams(void **state)
{
    struct fixture fixture;
    struct client client;
    struct bench_take take;
    const size_t size = 3U << 20;
    char *body = bench_body(size, 7);
    (void)state;
    fixture_open(&fixture);
    begin(&fixture, &client, POST "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(intake_body(&client.intake, body, size) < size); /* the rest waits for the disk */
    intake_cancel(&client.intake);
    leave(&client);
    begin(&fixture, &client, POST "Transfer-Encoding: chunked\r\n\r\n");
    give(&fixture, &client, body, size);
    finish(&fixture, &client);
    assert_true(client.wants > 0);
    bench_look(&fixture.bench, &take, client.end.id);
    bench_assert_body(&fixture.bench, &take, size, 7);
    bench_verdict(&fixture.bench, &take, SPOOL_RELEASE);
    assert_int_equal(bench_stats(&fixture.bench, NULL).records[SPOOL_READY], 1);
    free(body);
    leave(&client);
    fixture_close(&fixture);
}

static void a_client_that_waits_is_told_to_go_on(void **state)
{
    struct fixture fixture;
    struct client client;
    (void)state;
    fixture_open(&fixture);
    begin(&fixture, &client, POST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    fixture_turn(&fixture);
    assert_int_equal(client.continues, 1);
    give(&fixture, &client, "hello", 5);
    finish(&fixture, &client);
    assert_int_equal(client.continues, 1);
    leave(&client);
    /* One that does not wait is told nothing, and one that is gone neither. */
    begin(&fixture, &client, POST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    intake_cancel(&client.intake);
    fixture_turn(&fixture);
    assert_int_equal(client.continues + client.ends, 0);
    leave(&client);
    fixture_close(&fixture);
}

static void a_full_spool_refuses(void **state)
{
    struct fixture fixture;
    struct client client;
    struct text answer = TEXT_INIT;
    const struct http_refusal_note note = {.request_id = "id-1"};
    (void)state;
    fixture_open(&fixture);
    bench_set_policy(&fixture.bench, (struct spool_policy){.max_bytes = 4096});
    begin(&fixture, &client, POST "Content-Length: 100000\r\n\r\n");
    assert_int_equal(intake_body(&client.intake, "x", 1), 1); /* what comes meanwhile is nobody's */
    intake_body_end(&client.intake);
    fixture_turn(&fixture);
    assert_int_equal(client.ends, 1);
    assert_int_equal(client.end.why, HTTP_REFUSED_SPOOL_FULL);
    assert_true(client.end.retry_after_s > 0);
    intake_answer(&client.end, &note, true, &answer);
    assert_non_null(strstr(answer.data, "HTTP/1.1 507 "));
    assert_non_null(strstr(answer.data, "\r\nretry-after: "));
    assert_null(strstr(answer.data, client.detail)); /* how the parent's spool is bounded is its own */
    text_release(&answer);
    leave(&client);
    /* And in the middle of a body whose size nobody knew. */
    begin(&fixture, &client, POST "Transfer-Encoding: chunked\r\n\r\n");
    char *body = bench_body(8192, 1);
    give(&fixture, &client, body, 8192);
    fixture_turn(&fixture);
    assert_int_equal(client.ends, 1);
    assert_int_equal(client.end.why, HTTP_REFUSED_SPOOL_FULL);
    free(body);
    leave(&client);
    assert_int_equal(bench_stats(&fixture.bench, NULL).records[SPOOL_READY], 0);
    fixture_close(&fixture);
}

static void without_a_spool_it_is_unavailable(void **state)
{
    struct fixture fixture;
    struct forward_spool none;
    struct client client;
    struct text answer = TEXT_INIT;
    const struct http_refusal_note note = {.date = "now"};
    (void)state;
    fixture_open(&fixture);
    struct forward_spool kept = fixture.spool;
    assert_int_equal(forward_spool_init(&none, &fixture.loop), 0);
    memset(&client, 0, sizeof client);
    http_rules_init(&client.head.rules);
    http_request_init(&client.head.request, &client.head.rules);
    intake_start(&client.intake, &none, &ops, &client.head.route, &client.head.request, &client.head.values);
    assert_int_equal(client.ends, 0);
    fixture_turn(&fixture);
    assert_int_equal(client.ends, 1);
    assert_int_equal(client.end.why, HTTP_REFUSED_SPOOL_UNAVAILABLE);
    assert_true(client.end.retry_after_s > 0);
    intake_answer(&client.end, &note, false, &answer);
    assert_non_null(strstr(answer.data, "HTTP/1.1 503 "));
    text_release(&answer);
    leave(&client);
    forward_spool_close(&none);
    assert_ptr_equal(kept.port, fixture.spool.port);
    fixture_close(&fixture);
}

static void trailers_are_refused(void **state)
{
    struct fixture fixture;
    struct client client;
    struct http_span piece;
    struct text answer = TEXT_INIT;
    const struct http_refusal_note note = {.date = "now"};
    const char *rest = "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n";
    size_t used;
    enum http_event event;
    (void)state;
    fixture_open(&fixture);
    begin(&fixture, &client, POST "Transfer-Encoding: chunked\r\n\r\n");
    do {
        event = http_request_read(&client.head.request, rest, strlen(rest), &used, &piece);
        rest += used;
        if (event == HTTP_EVENT_BODY) {
            assert_int_equal(intake_body(&client.intake, piece.data, piece.size), piece.size);
        }
    } while (event == HTTP_EVENT_BODY);
    assert_int_equal(event, HTTP_EVENT_END);
    finish(&fixture, &client);
    assert_int_equal(client.end.why, HTTP_REFUSED_TRAILER);
    intake_answer(&client.end, &note, true, &answer);
    assert_non_null(strstr(answer.data, "cannot have trailers"));
    text_release(&answer);
    leave(&client);
    assert_int_equal(bench_stats(&fixture.bench, NULL).records[SPOOL_READY], 0);
    fixture_close(&fixture);
}

static void one_end_may_cancel_the_next(void **state)
{
    struct fixture fixture;
    struct client first, second, third;
    (void)state;
    fixture_open(&fixture);
    bench_set_policy(&fixture.bench, (struct spool_policy){.max_bytes = 1});
    begin(&fixture, &first, POST "Content-Length: 5\r\n\r\n");
    begin(&fixture, &second, POST "Content-Length: 5\r\n\r\n");
    begin(&fixture, &third, POST "Content-Length: 5\r\n\r\n");
    first.other = &second;
    fixture_turn(&fixture);
    assert_int_equal(first.ends, 1);
    assert_int_equal(second.ends, 0);
    assert_int_equal(third.ends, 1);
    leave(&first);
    leave(&second);
    leave(&third);
    fixture_close(&fixture);
}

static void what_was_kept_is_answered(void **state)
{
    const struct intake_end end = {.id = 7, .key = "a\"b"};
    struct http_refusal_note note = {.date = "Sun, 06 Nov 1994 08:49:37 GMT", .request_id = "id-9"};
    struct text answer = TEXT_INIT;
    (void)state;
    intake_answer(&end, &note, true, &answer);
    assert_non_null(strstr(answer.data, "HTTP/1.1 202 Accepted\r\ndate: Sun, 06 Nov 1994"));
    assert_non_null(strstr(answer.data, "\r\n\r\n{\"id\": 7, \"key\": \"a\\\"b\"}\n"));
    assert_null(strstr(answer.data, "connection: close"));
    text_clear(&answer);
    note.head_only = true;
    note.date = NULL;
    intake_answer(&end, &note, false, &answer);
    assert_non_null(strstr(answer.data, "connection: close\r\n\r\n"));
    assert_null(strstr(answer.data, "{"));
    text_release(&answer);
}

static void origins_are_read_strictly(void **state)
{
    struct intake_origin origin;
    static const char *const wrong[] = {
        "",
        "\r\n",
        "postern-spool/1 cid=16 request=x",
        "postern-spool/1 cid=16 request=x\r",
        "postern-spool/1 cid=16 request=x\rY",
        "postern-spool/2 cid=16 request=x\r\n",
        "postern-spool/1 cid= request=x\r\n",
        "postern-spool/1 cid=16\r\n",
        "postern-spool/1 cid=4294967296 request=x\r\n",
        "postern-spool/1 cid=16 answer=x\r\n",
        "postern-spool/1 cid=1 request=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_false(intake_origin_read(wrong[i], strlen(wrong[i]), &origin));
    }
    const char *right = "postern-spool/1 cid=0 request=\r\nGET";
    assert_true(intake_origin_read(right, strlen(right), &origin));
    assert_int_equal(origin.cid, 0);
    assert_string_equal(origin.request_id, "");
    assert_string_equal(right + origin.head_at, "GET");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_becomes_a_record), cmocka_unit_test(keys_that_are_none_are_replaced),
        cmocka_unit_test(a_large_body_streams),       cmocka_unit_test(a_client_that_waits_is_told_to_go_on),
        cmocka_unit_test(a_full_spool_refuses),       cmocka_unit_test(without_a_spool_it_is_unavailable),
        cmocka_unit_test(trailers_are_refused),       cmocka_unit_test(one_end_may_cancel_the_next),
        cmocka_unit_test(what_was_kept_is_answered),  cmocka_unit_test(origins_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
