/* Dialing a port behind a hybrid socket: the greeting in any pieces, and what is none. */
#include "dial_bench.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void begin_hybrid(struct bench *bench)
{
    struct addr to;
    parse_hybrid(&to);
    struct dial_options options = options_of(&to);
    begin_with(bench, &options);
}

/* Reads the request, and answers in pieces, each after a turn of the loop. NULL: closes without a word. */
static int play_backend(struct bench *bench, int listener, const char *const *pieces)
{
    char request[64] = "";
    int fd = accept_one(&bench->loopback, listener);
    WAIT_FOR(&bench->loopback, read(fd, request, sizeof request - 1) > 0);
    assert_string_equal(request, "CONNECT 1024\n");
    for (; pieces != NULL && *pieces != NULL; pieces++) {
        assert_int_equal(bench->calls, 0);
        assert_int_equal(write(fd, *pieces, strlen(*pieces)), strlen(*pieces));
        settle(bench);
    }
    return fd;
}

static void test_hybrid(void **state)
{
    static const char *const whole[] = {"OK 1073741824\nhello", NULL};
    static const char *const parts[] = {"O", "K 10", "24", "\n", NULL};
    struct bench bench;
    char data[16] = "";
    (void)state;
    open_bench(&bench);
    int listener = hybrid_listen();
    begin_hybrid(&bench);
    int fd = play_backend(&bench, listener, whole);
    finish(&bench, REASON_NONE);
    assert_int_equal(bench.kind, ADDR_UNIX);
    assert_int_equal(read(bench.fd, data, sizeof data), 5);
    assert_string_equal(data, "hello"); /* the guest's first bytes are the stream's */
    close(fd);
    drop_connection(&bench);
    begin_hybrid(&bench);
    fd = play_backend(&bench, listener, parts);
    finish(&bench, REASON_NONE);
    close(fd);
    close(listener);
    hybrid_unlink();
    close_bench(&bench);
}

static void test_hybrid_failures(void **state)
{
    static const char *const garbage[] = {"220 mail.example.com ESMTP\r\n", NULL};
    static const char *const silence[] = {"OK 10", NULL};
    struct bench bench;
    (void)state;
    open_bench(&bench);
    int listener = hybrid_listen();
    begin_hybrid(&bench);
    close(play_backend(&bench, listener, NULL));
    finish(&bench, REASON_CONNECT_REFUSED);
    begin_hybrid(&bench);
    int fd = play_backend(&bench, listener, garbage);
    finish(&bench, REASON_CONNECT_FAILED);
    close(fd);
    begin_hybrid(&bench);
    fd = play_backend(&bench, listener, silence);
    cancel(&bench);
    close(fd);
    close(listener);
    hybrid_unlink();
    begin_hybrid(&bench);
    finish(&bench, REASON_UNREACHABLE);
    close_bench(&bench);
}

/* How far it has come by the timeout does not matter. */
static void test_hybrid_timeout(void **state)
{
    struct bench bench;
    struct addr to;
    (void)state;
    open_bench(&bench);
    int listener = hybrid_listen();
    parse_hybrid(&to);
    struct dial_options options = options_of(&to);
    options.timeout_ms = 100;
    begin_with(&bench, &options);
    int fd = accept_one(&bench.loopback, listener);
    (void)!send(fd, "OK 10", 5, MSG_NOSIGNAL);
    finish(&bench, REASON_CONNECT_TIMEOUT);
    close(fd);
    close(listener);
    hybrid_unlink();
    close_bench(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hybrid),
        cmocka_unit_test(test_hybrid_failures),
        cmocka_unit_test(test_hybrid_timeout),
    };
    return cmocka_run_group_tests(tests, hybrid_folder, hybrid_folder_remove);
}
