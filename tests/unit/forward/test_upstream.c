/* Connections that are kept follow the name that they were made for. The resolver is played. */
#include "exchange_fixture.h"

#include <arpa/inet.h>

static struct resolved answer;
static bool later; /* the next question is answered when the test says so */
static struct resolve_request *asked;

int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret);
int __wrap_resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request,
                         resolve_cb cb, struct resolved *ret)
{
    (void)resolver;
    assert_string_equal(name, "moving.test");
    if (!later) {
        *ret = answer;
        return 1;
    }
    request->cb = cb;
    asked = request;
    return 0;
}

static void add_address(const char *ip)
{
    struct sockaddr_in *four = (void *)&answer.address[answer.count].u;
    answer.address[answer.count++].length = sizeof *four;
    four->sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, ip, &four->sin_addr), 1);
}

static void lead_to(const char *ip)
{
    memset(&answer, 0, sizeof answer);
    add_address(ip);
}

static unsigned connects; /* to 127.0.0.2, where nobody listens */

int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    const struct sockaddr_in *four = (const void *)address;
    connects += four->sin_addr.s_addr == htonl(0x7f000002);
    return __real_connect(fd, address, size);
}

static int
    refused; /* what epoll_ctl() says to a socket that is to be somebody else's; 0: what it has to say */

int __real_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int command, int fd, struct epoll_event *event)
{
    if (refused != 0 && command == EPOLL_CTL_MOD) {
        errno = refused;
        return -1;
    }
    return __real_epoll_ctl(epoll, command, fd, event);
}

static int set_up(void **state)
{
    (void)state;
    open_fixture();
    bench.route->to.literal = false;
    bench.route->allow_private = true;
    strcpy(bench.route->to.host, "moving.test");
    later = false;
    lead_to("127.0.0.1");
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(bench.worker.stats.idle, 1);
    text_clear(&far.heard);
    return 0;
}

/* As if a second had passed. */
static void start_again(void)
{
    LIST_FIRST(&bench.worker.upstreams)->looked_at = 0;
    owner_release(&owner);
    owner_init(&owner, &bench, GET);
    owner_start(&owner);
}

static void answer_again(void)
{
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    text_clear(&far.heard);
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_NONE);
    assert_true(owner.reused);
}

static void test_stays(void **state)
{
    (void)state;
    start_again();
    answer_again();
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void test_moves(void **state)
{
    (void)state;
    lead_to("127.0.0.2");
    start_again();
    assert_int_equal(bench.worker.stats.idle, 0);
    WAIT_FOR(&bench.net, owner.ends > 0); /* nobody listens there */
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_REFUSED);
    assert_non_null(strstr(owner.detail, "127.0.0.2"));
}

/* What it leads to now is known only while the kept connection is in use: it is not kept again. */
static void test_moves_in_use(void **state)
{
    (void)state;
    later = true;
    start_again();
    lead_to("127.0.0.2");
    asked->cb(asked, REASON_NONE, &answer);
    answer_again();
    assert_int_equal(bench.worker.stats.idle, 0);
}

static void test_cannot_be_asked(void **state)
{
    (void)state;
    later = true;
    start_again();
    asked->cb(asked, REASON_DNS_TIMEOUT, NULL);
    answer_again();
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void test_stale_answers_move_nothing(void **state)
{
    (void)state;
    later = true;
    start_again();
    lead_to("127.0.0.2");
    answer.stale = true;
    asked->cb(asked, REASON_NONE, &answer);
    answer_again();
    assert_int_equal(bench.worker.stats.idle, 1);
}

static void answer_on_a_new_connection(void)
{
    far_close(&far);
    far_release(&far);
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
    start_again();
    far_accept(&bench, &far);
    WAIT_FOR(&bench.net, far_heard(&far, "\r\n\r\n"));
    far_say(&bench, &far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_NONE);
}

/* An address of no use is tried once, while the name has another. */
static void test_is_remembered(void **state)
{
    (void)state;
    lead_to("127.0.0.2");
    add_address("127.0.0.1");
    connects = 0;
    for (unsigned i = 0; i < 3; i++) {
        answer_on_a_new_connection();
    }
    assert_int_equal(connects, 1);
    lead_to("127.0.0.2");
    far_close(&far);
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
    start_again();
    WAIT_FOR(&bench.net, owner.ends > 0);
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_REFUSED);
    assert_int_equal(connects, 2);
}

static void test_cannot_be_used(void **state)
{
    static const struct {
        int code;
        enum http_refusal why;
    } cases[] = {{ENOMEM, HTTP_REFUSED_NO_MEMORY}, {EBADF, HTTP_REFUSED_UPSTREAM_UNREACHABLE}};
    (void)state;
    far_close(&far);
    WAIT_FOR(&bench.net, bench.worker.stats.idle == 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        refused = cases[i].code;
        start_again();
        WAIT_FOR(&bench.net, owner.ends > 0);
        refused = 0;
        assert_int_equal(owner.why, cases[i].why);
        assert_non_null(strstr(owner.detail, "cannot use the connection to the upstream: "));
        assert_non_null(strstr(owner.detail, error_words(-cases[i].code)));
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_stays),
        T(test_moves),
        T(test_moves_in_use),
        T(test_cannot_be_asked),
        T(test_stale_answers_move_nothing),
        T(test_is_remembered),
        T(test_cannot_be_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
