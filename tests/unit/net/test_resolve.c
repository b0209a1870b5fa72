/* The resolver: what it answers when all is well, and when it is not. */
#include "resolve_fixture.h"
#include <arpa/inet.h>

#include <ares_version.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static int family_at(const struct resolved *answer, unsigned i)
{
    return answer->address[i].u.base.sa_family;
}

static const char *text_at(const struct resolved *answer, unsigned i)
{
    static char buffer[ADDR_TEXT_MAX];
    return sockaddr_format(&answer->address[i], buffer);
}

static unsigned count_text(const struct resolved *answer, const char *text)
{
    unsigned n = 0;
    for (unsigned i = 0; i < answer->count; i++) {
        n += strcmp(text_at(answer, i), text) == 0;
    }
    return n;
}

/* ---- Answers ---- */

static void all_addresses_in_alternation(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "both.test");
    struct question question;
    rule->a = rule->aaaa = 2;

    assert_int_equal(ask(fixture, &question, "both.test"), 0);
    assert_int_equal(question.why, REASON_NONE);
    assert_false(question.answer.stale);
    assert_int_equal(question.answer.count, 4);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_not_equal(family_at(&question.answer, i), family_at(&question.answer, i - 1));
    }
    assert_int_equal(count_text(&question.answer, "192.0.2.1:0"), 1);
    assert_int_equal(count_text(&question.answer, "192.0.2.2:0"), 1);
    assert_int_equal(count_text(&question.answer, "[2001:db8::1]:0"), 1);
    assert_int_equal(count_text(&question.answer, "[2001:db8::2]:0"), 1);
    assert_int_equal(question.answer.address[0].length, family_at(&question.answer, 0) == AF_INET
                                                            ? sizeof(struct sockaddr_in)
                                                            : sizeof(struct sockaddr_in6));
}

static void one_family_alone(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    dns_fake_rule(&fixture->dns, "four.test")->a = 3;
    dns_fake_rule(&fixture->dns, "six.test")->aaaa = 1;

    ask(fixture, &question, "four.test");
    assert_int_equal(question.answer.count, 3);
    ask(fixture, &question, "six.test");
    assert_int_equal(question.answer.count, 1);
    assert_string_equal(text_at(&question.answer, 0), "[2001:db8::1]:0");
}

static void aliases(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "alias.test");
    struct question question;
    rule->cname = "target.test";
    rule->cname_ttl = 60;
    rule->a = 1;

    ask(fixture, &question, "alias.test");
    assert_int_equal(question.why, REASON_NONE);
    assert_string_equal(text_at(&question.answer, 0), "192.0.2.1:0");
}

/* 1,000 addresses come over TCP; 16 are kept, of both families. */
static void a_huge_answer(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "huge.test");
    struct question question;
    unsigned ipv4 = 0;
    rule->a = rule->aaaa = 500;

    ask(fixture, &question, "huge.test");
    assert_int_equal(question.why, REASON_NONE);
    assert_true(rule->asked_tcp > 0);
    assert_int_equal(question.answer.count, RESOLVE_ADDRS_MAX);
    for (unsigned i = 0; i < RESOLVE_ADDRS_MAX; i++) {
        ipv4 += family_at(&question.answer, i) == AF_INET;
    }
    assert_int_equal(ipv4, RESOLVE_ADDRS_MAX / 2);
}

static void an_address_told_twice_is_tried_once(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "twice.test");
    struct question question;
    rule->a = rule->aaaa = 5;
    rule->same = true;
    ask(fixture, &question, "twice.test");
    assert_int_equal(question.answer.count, 2);
}

static void a_truncated_answer_comes_over_tcp(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "truncated.test");
    rule->a = 1;
    rule->truncate = true;

    assert_asks(fixture, "truncated.test", 0, REASON_NONE);
    assert_int_equal(rule->asked_tcp, 2);
}

static void a_slow_answer(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "slow.test");
    rule->a = 1;
    rule->delay_ms = 50;
    assert_asks(fixture, "slow.test", 0, REASON_NONE);
}

/* A server that never answers for IPv6 does not cost the IPv4 addresses. */
static void half_an_answer(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "half.test");
    struct question question;
    rule->a = 2;
    rule->drop_aaaa = true;
    fixture->options.timeout_ms = 300;
    ask_in_time(fixture, &question, "half.test");
    assert_int_equal(question.answer.count, 2);
}

/* Nor do two of them: c-ares gives up on both in time. */
static void half_an_answer_of_two_servers(void **state)
{
    struct fixture *fixture = *state;
    char servers[80];
    struct dns_fake other;
    struct question question;
    dns_fake_open(&other, &fixture->loop);
    snprintf(servers, sizeof(servers), "%s,%s", fixture->dns.servers, other.servers);
    struct dns_rule *rules[] = {dns_fake_rule(&fixture->dns, "half.test"),
                                dns_fake_rule(&other, "half.test")};
    for (unsigned i = 0; i < ARRAY_SIZE(rules); i++) {
        rules[i]->a = 2;
        rules[i]->drop_aaaa = true;
    }
    fixture->options.servers = servers;
    fixture->options.timeout_ms = 600;
    ask_in_time(fixture, &question, "half.test");
    close_resolver(fixture);
    fixture->resolver = NULL;
    dns_fake_close(&other);
}

static void a_second_server_helps(void **state)
{
    struct fixture *fixture = *state;
    struct dns_fake other;
    struct question question;
    char servers[80];
    dns_fake_open(&other, &fixture->loop);
    dns_fake_rule(&other, "name.test")->a = 1;
    snprintf(servers, sizeof(servers), "%s,%s", fixture->dns.servers, other.servers);
    fixture->dns.silent = true;
    fixture->options.servers = servers;
    fixture->options.timeout_ms = 1000;
    ask_in_time(fixture, &question, "name.test");
    assert_true(other.asked >= 2);
    close_resolver(fixture);
    fixture->resolver = NULL;
    dns_fake_close(&other);
}

/* ---- The system's names ---- */

static void localhost_needs_no_server(void **state)
{
    struct fixture *fixture = *state;
    struct question question;

    assert_int_equal(ask(fixture, &question, "localhost"), 0);
    assert_int_equal(question.why, REASON_NONE);
    assert_true(count_text(&question.answer, "127.0.0.1:0") + count_text(&question.answer, "[::1]:0") > 0);
    assert_int_equal(fixture->dns.asked, 0);
}

static bool mount_hosts(void)
{
    char path[] = "/tmp/hosts-XXXXXX";
    static const char text[] = "192.0.2.77 in-hosts.test\n2001:db8::77 in-hosts.test\n";
    int fd = mkstemp(path);
    bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) &&
                (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
                mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
                mount(path, "/etc/hosts", "none", MS_BIND, NULL) == 0;
    if (fd >= 0) {
        close(fd);
    }
    unlink(path);
    return done;
}

enum { CHILD_PASSED, CHILD_FAILED, CHILD_CANNOT };

static int ask_for_hosts(struct fixture *fixture)
{
    struct question question;
    if (!mount_hosts()) {
        return CHILD_CANNOT;
    }
    ask(fixture, &question, "in-hosts.test");
    return question.why == REASON_NONE && question.answer.count == 2 && fixture->dns.asked == 0 &&
                   count_text(&question.answer, "192.0.2.77:0") == 1 &&
                   count_text(&question.answer, "[2001:db8::77]:0") == 1
               ? CHILD_PASSED
               : CHILD_FAILED;
}

/* In a mount namespace of its own, with another /etc/hosts. */
static void etc_hosts(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        void *own = NULL; /* a loop does not survive fork() as it is */
        _exit(set_up(&own) == 0 ? ask_for_hosts(own) : CHILD_FAILED);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_CANNOT) {
        print_message("no mount namespace to be had here: /etc/hosts is not tested\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_PASSED);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void count_handle(uv_handle_t *handle, void *data)
{
    (void)handle;
    ++*(unsigned *)data;
}

static unsigned count_handles(uv_loop_t *loop)
{
    unsigned n = 0;
    uv_walk(loop, count_handle, &n);
    return n;
}

/* Search domains are those of the file as it is now; a question under way ends under the old ones. */
static void resolv_conf_is_read_again(void **state)
{
    struct fixture *fixture = *state;
    char path[] = "/tmp/resolv.conf-XXXXXX";
    struct question slow = {.why = REASON_NONE}, question;
    close(mkstemp(path));
    write_file(path, "search one.test\n");
    fixture->options.resolv_conf = path;
    fixture->options.max_ttl_ms = fixture->options.min_ttl_ms = 0;
    dns_fake_rule(&fixture->dns, "host.one.test")->a = 1;
    dns_fake_rule(&fixture->dns, "other.two.test")->a = 1;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "slow.one.test");
    rule->a = 1;
    rule->delay_ms = 60 * MINUTE_MS;
    fixture->options.timeout_ms = 10 * MINUTE_MS; /* c-ares asks once */
    uint64_t opened = uv_now(&fixture->loop);
    reopen(fixture);

    assert_asks(fixture, "host", 0, REASON_NONE);
    unsigned handles = count_handles(&fixture->loop);
    assert_int_equal(start(fixture, &slow, "slow"), 0);
    write_file(path, "search two.test\n# another\n");
    ask(fixture, &question, "host");
    if (uv_now(&fixture->loop) - opened < 1000) { /* too soon to look at the file */
        assert_int_equal(question.why, REASON_NONE);
    }
    pass(fixture, 1001);
    assert_int_equal(slow.calls, 0);
    assert_asks(fixture, "other", 0, REASON_NONE);
    assert_asks(fixture, "host", 0, REASON_DNS_NOT_FOUND);
    dns_fake_hurry(&fixture->dns);
    wait_for(&slow, 1);
    assert_int_equal(slow.why, REASON_NONE);
    uv_run(&fixture->loop, UV_RUN_DEFAULT);
    assert_int_equal(count_handles(&fixture->loop), handles); /* nothing is left of the old settings */

    unlink(path); /* a file that is gone has changed, too */
    pass(fixture, 1001);
    assert_asks(fixture, "other", 0, REASON_DNS_NOT_FOUND);
}

/* ---- Failures ---- */

static void no_such_name(void **state)
{
    struct fixture *fixture = *state;
    assert_asks(fixture, "nowhere.test", 0, REASON_DNS_NOT_FOUND);
    assert_int_equal(fixture->stats.not_found, 1);
    unsigned asked = fixture->dns.asked;

    assert_asks(fixture, "nowhere.test", 0, REASON_DNS_NOT_FOUND);
    assert_int_equal(fixture->dns.asked, asked);
    assert_int_equal(fixture->stats.queries, 1);
    assert_int_equal(fixture->stats.hits, 1);
    assert_int_equal(fixture->stats.not_found, 1);
    assert_int_equal(fixture->stats.cached, 1);
}

static void no_such_name_is_asked_again_after_min_ttl(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.min_ttl_ms = 20;
    reopen(fixture);
    assert_asks(fixture, "soon.test", 0, REASON_DNS_NOT_FOUND);
    dns_fake_rule(&fixture->dns, "soon.test")->a = 1;
    pass(fixture, 21);
    assert_asks(fixture, "soon.test", 0, REASON_NONE);
}

static void names_without_addresses(void **state)
{
    struct fixture *fixture = *state;
    dns_fake_rule(&fixture->dns, "empty.test");
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "dangling.test");
    rule->cname = "target.test";
    rule->cname_only = true;
    rule = dns_fake_rule(&fixture->dns, "loop.test");
    rule->cname = "loop.test";
    rule->cname_only = true;

    assert_asks(fixture, "empty.test", 0, REASON_DNS_NOT_FOUND);
    assert_asks(fixture, "dangling.test", 0, REASON_DNS_NOT_FOUND);
    assert_asks(fixture, "loop.test", 0, REASON_DNS_NOT_FOUND);
}

/* c-ares stopped comparing owner names in 1.26, as other resolvers do not. */
static void addresses_of_another_name(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "right.test");
    rule->a = 1;
    rule->wrong_name = true;
    assert_asks(fixture, "right.test", 0, ARES_VERSION < 0x011a00 ? REASON_DNS_NOT_FOUND : REASON_NONE);
}

static void servers_that_fail(void **state)
{
    struct fixture *fixture = *state;
    static const unsigned codes[] = {DNS_SERVFAIL, DNS_REFUSED};
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "fails.test");
    struct dns_rule *broken = dns_fake_rule(&fixture->dns, "broken.test");
    broken->broken = true;

    for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
        rule->rcode = codes[i];
        assert_asks(fixture, "fails.test", 0, REASON_DNS_FAILED);
    }
    assert_asks(fixture, "broken.test", 0, REASON_DNS_FAILED);
    assert_int_equal(fixture->stats.failures, 3);
    assert_int_equal(fixture->stats.queries, 3); /* a failure is not kept */
    assert_int_equal(fixture->stats.cached, 0);
}

/* Refused by the kernel, which at least one of them hears of instead of waiting. Which of the two it is depends on which of two
 * packets learns of it. */
static void a_server_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    uint64_t took_ms = UINT64_MAX;
    fixture->options.servers = "127.0.0.1:1";
    fixture->options.timeout_ms = 3000;
    for (unsigned i = 0; i < 10 && took_ms >= 1000; i++) {
        struct question question;
        reopen(fixture);
        uint64_t begun = uv_now(&fixture->loop);
        ask(fixture, &question, "name.test");
        took_ms = uv_now(&fixture->loop) - begun;
        assert_true(question.why == REASON_DNS_FAILED || question.why == REASON_DNS_TIMEOUT);
    }
    assert_true(took_ms < 1000);
}

static void a_server_that_does_not_answer(void **state)
{
    struct fixture *fixture = *state;
    struct question question;
    dns_fake_rule(&fixture->dns, "silent.test")->drop = true;
    dns_fake_rule(&fixture->dns, "garbage.test")->garbage = true;
    fixture->options.timeout_ms = 200;
    reopen(fixture);

    assert_asks(fixture, "silent.test", 0, REASON_DNS_TIMEOUT);
    assert_int_equal(fixture->stats.timeouts, 1);
    /* Some versions of c-ares wait for something better than garbage, some do not. */
    ask(fixture, &question, "garbage.test");
    assert_true(question.why == REASON_DNS_TIMEOUT || question.why == REASON_DNS_FAILED);
    assert_int_equal(fixture->stats.timeouts + fixture->stats.failures, 2);
}

/* The deadline holds though c-ares has not given up yet, and what comes after it harms nobody. */
static void the_deadline_does_not_rely_on_c_ares(void **state)
{
    struct fixture *fixture = *state;
    struct dns_rule *rule = dns_fake_rule(&fixture->dns, "late.test");
    rule->a = 1;
    rule->delay_ms = 55; /* c-ares' own tries take 70 ms at least */
    fixture->options.timeout_ms = 25;
    reopen(fixture);

    assert_asks(fixture, "late.test", 0, REASON_DNS_TIMEOUT);
    pass(fixture, 60);
    assert_int_equal(fixture->stats.timeouts, 1);
    assert_int_equal(fixture->stats.cached, 0);
    rule->delay_ms = 0;
    struct question question = {.why = REASON_DNS_TIMEOUT};
    for (unsigned i = 0; i < TRIES && question.why != REASON_NONE; i++) {
        assert_int_equal(ask(fixture, &question, "late.test"), 0);
    }
    assert_int_equal(question.why, REASON_NONE);
}

/* ---- What is refused ---- */

static void addresses_and_nonsense_are_not_asked_for(void **state)
{
    struct fixture *fixture = *state;
    static const char *const names[] = {"127.0.0.1", "::1", "", "a..b", "a b", "127.1"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct question question = {.calls = 0};
        assert_int_equal(start(fixture, &question, names[i]), -EINVAL);
        resolve_cancel(&question.request);
    }
    assert_int_equal(fixture->stats.queries, 0);
}

static void servers_that_make_no_sense(void **state)
{
    struct fixture *fixture = *state;
    static const char *const servers[] = {"", "nonsense", "127.0.0.1:53,example.com"};
    struct resolver *resolver = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
        struct error err = ERROR_INIT;
        fixture->options.servers = servers[i];
        assert_int_equal(resolver_new(&fixture->loop, &fixture->options, &fixture->stats, &resolver, &err),
                         -EINVAL);
        assert_non_null(strstr(err.text, "expected ADDRESS[:PORT]"));
    }
    fixture->options.servers = "127.0.0.1,[::1]:5353,::1";
    reopen(fixture);
    fixture->options.servers = NULL; /* the system's */
    fixture->options.resolv_conf = NULL;
    reopen(fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_addresses_in_alternation),
        TEST(one_family_alone),
        TEST(aliases),
        TEST(a_huge_answer),
        TEST(an_address_told_twice_is_tried_once),
        TEST(a_truncated_answer_comes_over_tcp),
        TEST(a_slow_answer),
        TEST(half_an_answer),
        TEST(half_an_answer_of_two_servers),
        TEST(a_second_server_helps),
        TEST(localhost_needs_no_server),
        cmocka_unit_test(etc_hosts),
        TEST(resolv_conf_is_read_again),
        TEST(no_such_name),
        TEST(no_such_name_is_asked_again_after_min_ttl),
        TEST(names_without_addresses),
        TEST(addresses_of_another_name),
        TEST(servers_that_fail),
        TEST(a_server_that_is_not_there),
        TEST(a_server_that_does_not_answer),
        TEST(the_deadline_does_not_rely_on_c_ares),
        TEST(addresses_and_nonsense_are_not_asked_for),
        TEST(servers_that_make_no_sense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
