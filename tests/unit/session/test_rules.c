/*
 * Each rule of docs/protocol.md, broken once: what is sent, and what comes back. A rule without a row, and a row without a
 * rule, fail the test; so does a code that is not the document's.
 */
#include "document.h"
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct rule *rule_of(const char *id)
{
    size_t count;
    const struct rule *rules = document_rules(&count);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(rules[i].id, id) == 0) {
            return &rules[i];
        }
    }
    fail_msg("docs/protocol.md has no rule %s", id);
    return NULL;
}

static void start(struct peer *peer, bool fresh)
{
    peer_config(peer, SESSION_SERVER);
    if (fresh) {
        peer_new(peer);
        peer_said(peer);
        return;
    }
    peer->config.opens = (struct limit_rate){10, 10};
    peer->config.resets = (struct limit_rate){10, 1}; /* and twice the streams */
    peer->config.pings = (struct limit_rate){2, 10};
    peer->config.noise = (struct limit_rate){10, 10};
    peer_new(peer);
    put_preface(peer);
    put_hello(peer);
    peer_said(peer);
    put_pong(peer);
    peer->events[0] = '\0';
}

static void check_row(const struct rule_row *table, const struct rule_row *row)
{
    static struct peer peer;
    const struct rule *rule = rule_of(row->id);
    char expected[64], code[RULE_CODE_MAX] = "";
    const char *ended;

    for (size_t i = 0; rule->code[i]; i++) {
        code[i] = (char)(rule->code[i] == '_' ? '_' : rule->code[i] + ('a' - 'A'));
    }
    start(&peer, row->fresh);
    row->breaks(&peer);
    ended = strstr(peer.events, "ended(");
    snprintf(expected, sizeof(expected), "ended(%s,%s:", code, row->id);
    if (!ended || strncmp(ended, expected, strlen(expected)) != 0) {
        fail_msg("row %zu, %s: %s", (size_t)(row - table), expected, ended ? ended : peer.events);
    }
    assert_true(session_is_over(peer.session));
    snprintf(expected, sizeof(expected), ",%s,%s:", code, row->id);
    peer_said(&peer);
    if (rule->id[0] == 'G' && rule->id[2] == '5') {
        assert_string_equal(peer.said, "");
    } else if (!strstr(peer.goaway, expected)) {
        fail_msg("row %zu, %s: said %s", (size_t)(row - table), expected, peer.goaway);
    }
    /* It says nothing more, hears nothing more, and wants nothing more. */
    put_hello(&peer);
    session_tick(peer.session, peer.now + 1000000);
    assert_false(session_has_output(peer.session));
    assert_int_equal(session_next_deadline(peer.session), SESSION_NEVER);
    peer_stop(&peer);
}

static void check_rows(const struct rule_row *table)
{
    for (const struct rule_row *row = table; row->id; row++) {
        check_row(table, row);
    }
}

static void test_each_is_enforced(void **state)
{
    (void)state;
    check_rows(rules_of_frames);
    check_rows(rules_of_streams);
}

static bool has_row(const struct rule_row *table, const char *id)
{
    while (table->id && strcmp(table->id, id) != 0) {
        table++;
    }
    return table->id != NULL;
}

static void test_each_has_a_row(void **state)
{
    size_t count;
    const struct rule *rules = document_rules(&count);

    (void)state;
    assert_true(count > 40);
    for (size_t i = 0; i < count; i++) {
        if (!has_row(rules_of_frames, rules[i].id) && !has_row(rules_of_streams, rules[i].id)) {
            fail_msg("no row breaks rule %s", rules[i].id);
        }
    }
}

/* The numbers of the document are the code's. */
static void test_codes(void **state)
{
    char text[80];

    (void)state;
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        snprintf(text, sizeof(text), "| %x | `%s` |", code_of_reason((enum reason)i),
                 reason_word((enum reason)i));
        if (!strstr(document_text(), text)) {
            fail_msg("docs/protocol.md lacks %s", text);
        }
    }
#define X(id, number, word)                                     \
    snprintf(text, sizeof(text), "| %02x | %s |", number, #id); \
    if (!strstr(document_text(), text))                         \
        fail_msg("docs/protocol.md lacks %s", text);
    CODE_TABLE(X)
#undef X
}

/* The defaults of the document are the code's. */
static void test_defaults(void **state)
{
    struct session_config config;
    static const char *const lines[] = {
        "| `max_payload` | 65528 bytes |",
        "| `max_streams` | 256 from the peer, 256 own |",
        "| `budget` | 16 MiB a session |",
        "| `handshake_timeout` | 10 s |",
        "| `frame_timeout` | 30 s |",
        "| `open_timeout` | 30 s |",
        "| `stop_timeout` | 30 s |",
        "| `progress_timeout` | 5 min |",
        "| `half_closed_timeout` | 5 min |",
        "| `ping_interval` | 15 s |",
        "| `pong_timeout` | 30 s |",
        "| OPEN | 50000 a second, 50000 at once |",
        "| RESET and STOP | 2000 a second, 4000 at once |",
        "| PING | 5 a second, 50 at once |",
        "| frames that do nothing | 1000 a second, 2000 at once |",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        if (!strstr(document_text(), lines[i])) {
            fail_msg("docs/protocol.md lacks %s", lines[i]);
        }
    }
    session_config_default(&config, SESSION_CLIENT);
    assert_true(config.max_payload == 65528 && config.max_streams == 256 && config.max_own_streams == 256);
    assert_true(config.budget == 16 << 20 && config.handshake_timeout == 10000 &&
                config.frame_timeout == 30000);
    assert_true(config.open_timeout == 30000 && config.stop_timeout == 30000 &&
                config.progress_timeout == 300000);
    assert_true(config.half_closed_timeout == 300000 && config.ping_interval == 15000 &&
                config.pong_timeout == 30000);
    assert_true(config.opens.per_second == 50000 && config.opens.burst == 50000);
    assert_true(config.resets.per_second == 2000 && config.resets.burst == 4000);
    assert_true(config.pings.per_second == 5 && config.pings.burst == 50);
    assert_true(config.noise.per_second == 1000 && config.noise.burst == 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_is_enforced),
        cmocka_unit_test(test_each_has_a_row),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_defaults),
    };

    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
