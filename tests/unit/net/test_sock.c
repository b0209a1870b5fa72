/*
 * Sockets of every family. AF_VSOCK is played: socket(), bind(), connect() and setsockopt() are wrapped at link time, a
 * vsock socket is a unix one underneath, and what was asked of it is kept to be looked at.
 */
#include "net/sock.h"

#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_connect(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_bind(int fd, const struct sockaddr *address, socklen_t size);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t size);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size);

/* What the played vsock was asked, and answers. */
static struct {
    unsigned options;
    struct {
        int name;
        uint64_t size;
        struct timeval limit;
    } option[8];
    unsigned connects;
    unsigned char flags[4];
    int answers[4]; /* of connect(): errno, 0 */
    int bind_answer;
} vsock;

int __wrap_socket(int family, int type, int protocol)
{
    return __real_socket(family == AF_VSOCK ? AF_UNIX : family, type, protocol);
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    if (address->sa_family != AF_VSOCK) {
        return __real_connect(fd, address, size);
    }
    struct sockaddr_vm vm;
    assert_int_equal(size, sizeof vm);
    memcpy(&vm, address, sizeof vm);
    vsock.flags[vsock.connects] = vm.svm_flags;
    errno = vsock.answers[vsock.connects++];
    return errno == 0 ? 0 : -1;
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t size)
{
    if (address->sa_family != AF_VSOCK && vsock.bind_answer == 0) {
        return __real_bind(fd, address, size);
    }
    struct sockaddr_un any = {.sun_family = AF_UNIX}; /* the kernel picks an abstract name */
    errno = vsock.bind_answer;
    return errno == 0 ? __real_bind(fd, (struct sockaddr *)&any, sizeof any.sun_family) : -1;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    if (level != AF_VSOCK) {
        return __real_setsockopt(fd, level, name, value, size);
    }
    vsock.option[vsock.options].name = name;
    if (name == SO_VM_SOCKETS_CONNECT_TIMEOUT) {
        assert_int_equal(size, sizeof vsock.option[0].limit);
        memcpy(&vsock.option[vsock.options].limit, value, size);
    } else {
        assert_int_equal(size, 8); /* or the kernel refuses */
        memcpy(&vsock.option[vsock.options].size, value, size);
    }
    vsock.options++;
    return 0;
}

static char folder[] = "/tmp/postern-sock-XXXXXX";

PRINTF_LIKE(1, 2) static struct addr parse(const char *format, ...)
{
    char text[ADDR_TEXT_MAX];
    struct addr addr;
    struct error err = ERROR_INIT;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (addr_parse_listen(text, &addr, &err) != 0) {
        fail_msg("%s", err.text);
    }
    return addr;
}

static int int_option(int fd, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

static const struct sock_options plain = {.unix_mode = 0600};

static int listen_at(const struct addr *addr)
{
    struct error err = ERROR_INIT;
    int fd = sock_listen(addr, &plain, &err);
    if (fd < 0) {
        fail_msg("%s", err.text);
    }
    return fd;
}

static void assert_refuses(const struct addr *addr, int code, const char *words)
{
    struct error err = ERROR_INIT;
    assert_int_equal(sock_listen(addr, &plain, &err), code);
    if (strstr(err.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    }
}

static void assert_flags(int fd)
{
    assert_true((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

static struct sockaddr_any name_of(int fd)
{
    struct sockaddr_any name = {.length = sizeof name.u};
    assert_int_equal(getsockname(fd, &name.u.base, &name.length), 0);
    return name;
}

/* ---- Listening, accepting, connecting ---- */

static void test_tcp_end_to_end(void **state)
{
    static const char *const addresses[] = {"tcp://127.0.0.1:0", "tcp://[::1]:0"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
        struct addr addr = parse("%s", addresses[i]);
        int listener = listen_at(&addr);
        struct sockaddr_any at = name_of(listener), peer;
        bool pending;
        assert_flags(listener);
        assert_int_equal(sock_accept(listener, &peer), -EAGAIN);
        int client = sock_connect(&at, &plain, &pending);
        assert_true(client >= 0);
        assert_flags(client);
        int server;
        while ((server = sock_accept(listener, &peer)) == -EAGAIN) {
        }
        assert_true(server >= 0);
        assert_flags(server);
        assert_int_equal(sock_kind(&peer), ADDR_TCP);
        assert_int_equal(sock_outcome(client), 0);
        assert_int_equal(int_option(client, IPPROTO_TCP, TCP_NODELAY), 1);
        assert_int_equal(int_option(server, IPPROTO_TCP, TCP_NODELAY), 1); /* handed down by the listener */
        assert_int_equal(int_option(client, SOL_SOCKET, SO_OOBINLINE), 1);
        assert_int_equal(int_option(server, SOL_SOCKET, SO_OOBINLINE), 1);
        close(client);
        close(server);
        close(listener);
    }
}

/* systemd hands over sockets without them. */
static void test_a_listener_of_somebody_elses_gets_the_options(void **state)
{
    const struct sock_options options = {.vsock_buffer_size = 0};
    uint16_t port;
    int fd = tcp_listener(5, &port);
    (void)state;
    assert_int_equal(int_option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    sock_adopt_listener(fd, &options);
    assert_int_not_equal(int_option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_equal(int_option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
    close(fd);
}

static void test_a_v6_listener_leaves_v4_alone(void **state)
{
    struct addr six = parse("tcp://[::1]:0");
    (void)state;
    int fd = listen_at(&six);
    assert_int_equal(int_option(fd, IPPROTO_IPV6, IPV6_V6ONLY), 1);
    close(fd);
}

static void test_a_refused_connection(void **state)
{
    struct addr to = parse("tcp://127.0.0.1:%u", refusing_port());
    struct sockaddr_any at;
    bool pending = false;
    (void)state;
    assert_int_equal(addr_to_sockaddr(&to, false, &at), 0);
    int fd = sock_connect(&at, &plain, &pending);
    if (fd >= 0) {
        assert_true(pending);
        assert_int_equal(sock_outcome(fd), -ECONNREFUSED);
        close(fd);
    } else {
        assert_int_equal(fd, -ECONNREFUSED);
    }
    assert_int_equal(sock_outcome(-1), -EBADF);
}

static void test_an_abort_is_a_reset(void **state)
{
    struct peer peer;
    int fds[2];
    (void)state;
    pair_of_tcp(fds);
    peer_init(&peer, fds[1]);
    sock_set_abort(fds[0]);
    close(fds[0]);
    assert_int_equal(peer_hear(&peer)->error, -ECONNRESET);
    peer_close(&peer);
}

/* ---- Unix sockets and their files ---- */

static void test_the_file_has_its_mode(void **state)
{
    static const unsigned modes[] = {0600, 0660, 0777};
    struct stat st;
    (void)state;
    mode_t mask = umask(027);
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        struct addr addr = parse("unix://%s/mode", folder);
        struct sock_options options = {.unix_mode = modes[i]};
        struct error err = ERROR_INIT;
        int fd = sock_listen(&addr, &options, &err);
        assert_true(fd >= 0);
        assert_int_equal(stat(addr.host, &st), 0);
        assert_int_equal(st.st_mode & 07777, modes[i]);
        close(fd);
        unlink(addr.host);
    }
    umask(mask);
}

static void test_a_leftover_file_is_replaced_and_a_live_one_is_not(void **state)
{
    struct addr addr = parse("unix://%s/left", folder);
    (void)state;
    close(listen_at(&addr));
    assert_int_equal(access(addr.host, F_OK), 0); /* the leftover */
    int fd = listen_at(&addr);
    assert_refuses(&addr, -EADDRINUSE, "another program holds it: `posternctl doctor` names it");
    assert_int_equal(access(addr.host, F_OK), 0);
    close(fd);
    unlink(addr.host);
}

static void test_what_is_no_socket_is_not_replaced(void **state)
{
    struct addr addr = parse("unix://%s/file", folder);
    (void)state;
    FILE *file = fopen(addr.host, "w");
    assert_non_null(file);
    fputs("precious\n", file);
    fclose(file);
    struct error err = ERROR_INIT;
    int fd = sock_listen(&addr, &plain, &err);
    struct stat st;
    assert_int_equal(stat(addr.host, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(fd, -EADDRINUSE);
    assert_non_null(strstr(err.text, "a file that is no socket is in its place"));
    unlink(addr.host);
}

static void test_an_abstract_name_has_no_file(void **state)
{
    struct addr addr = parse("unix://@postern-sock-%d", (int)getpid());
    struct sockaddr_any at, peer;
    bool pending;
    (void)state;
    int listener = listen_at(&addr);
    assert_refuses(&addr, -EADDRINUSE, "another program");
    assert_int_equal(addr_to_sockaddr(&addr, false, &at), 0);
    int client = sock_connect(&at, &plain, &pending);
    assert_true(client >= 0);
    assert_false(pending);
    int server = sock_accept(listener, &peer);
    assert_true(server >= 0);
    assert_int_equal(sock_kind(&peer), ADDR_UNIX);
    close(client);
    close(server);
    close(listener);
}

static void test_hybrid_listens_beside_its_path(void **state)
{
    struct addr addr = parse("hybrid://%s/vm:52", folder);
    char path[128];
    (void)state;
    int fd = listen_at(&addr);
    snprintf(path, sizeof path, "%s/vm_52", folder);
    assert_int_equal(access(path, F_OK), 0);
    close(fd);
    unlink(path);
}

static void test_a_full_backlog_of_a_unix_socket(void **state)
{
    struct addr addr = parse("unix://@postern-full-%d", (int)getpid());
    struct sockaddr_any at;
    int fds[4];
    bool pending;
    (void)state;
    int listener = listen_at(&addr);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(addr_to_sockaddr(&addr, false, &at), 0);
    int last = 0;
    unsigned count = 0;
    while (count < 4 && (last = sock_connect(&at, &plain, &pending)) >= 0) {
        fds[count++] = last;
    }
    assert_int_equal(last, -EAGAIN);
    while (count > 0) {
        close(fds[--count]);
    }
    close(listener);
}

/* ---- Errors in words ---- */

static void test_errors_say_what_to_do(void **state)
{
    struct addr taken = parse("tcp://127.0.0.1:0");
    (void)state;
    int fd = listen_at(&taken);
    struct sockaddr_any at = name_of(fd);
    taken.port = ntohs(((struct sockaddr_in *)(void *)&at.u.storage)->sin_port);
    assert_refuses(&taken, -EADDRINUSE, "cannot listen at tcp://127.0.0.1:");
    assert_refuses(&taken, -EADDRINUSE, "posternctl doctor");
    close(fd);
    struct addr elsewhere = parse("tcp://192.0.2.1:4242");
    assert_refuses(&elsewhere, -EADDRNOTAVAIL, "this machine does not have that address");
    struct addr nowhere = parse("unix://%s/no/such", folder);
    assert_refuses(&nowhere, -ENOENT, "create the directory first");
    struct addr name = parse("tcp://example.com:80");
    assert_refuses(&name, -EINVAL, "cannot listen at tcp://example.com:80");
}

static void test_what_may_not_be_bound(void **state)
{
    struct addr path = parse("unix://%s/shut", folder), port = parse("tcp://127.0.0.1:80");
    (void)state;
    vsock.bind_answer = EACCES;
    assert_refuses(&path, -EACCES, "this user may not make a socket in that directory");
    assert_refuses(&port, -EACCES, "a systemd socket unit hands it over");
    vsock.bind_answer = 0;
}

static void test_vsock_errors_say_what_to_do(void **state)
{
    static const struct {
        int answer;
        const char *words;
    } cases[] = {
        {EADDRINUSE, "another program holds that port: `posternctl doctor` looks for it"},
        {EADDRNOTAVAIL, "this machine does not have that CID"},
        {EACCES, "CAP_NET_BIND_SERVICE"},
        {EPERM, "CAP_NET_BIND_SERVICE"},
        {EAFNOSUPPORT, "seccomp"},
        {EIO, "Input/output error"},
    };
    struct addr addr = parse("vsock://any:7000");
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        vsock.bind_answer = cases[i].answer;
        assert_refuses(&addr, -cases[i].answer, cases[i].words);
    }
    vsock.bind_answer = 0;
}

static void test_what_a_failed_connect_means(void **state)
{
    (void)state;
    assert_non_null(strstr(sock_connect_words(ADDR_VSOCK, -ECONNRESET), "nothing listens at that port"));
    assert_non_null(strstr(sock_connect_words(ADDR_VSOCK, -ENODEV), "is the enclave running"));
    assert_non_null(strstr(sock_connect_words(ADDR_VSOCK, -ETIMEDOUT), "did not answer"));
    assert_string_equal(sock_connect_words(ADDR_VSOCK, -EPERM), "Operation not permitted");
    assert_non_null(strstr(sock_connect_words(ADDR_UNIX, -EAGAIN), "backlog is full"));
    assert_non_null(
        strstr(sock_connect_words(ADDR_UNIX, -EPROTO), "does not answer CONNECT as the vsock socket of"));
    assert_non_null(strstr(sock_connect_words(ADDR_HYBRID, -EPROTO), "does not answer CONNECT"));
    assert_string_equal(sock_connect_words(ADDR_UNIX, -ENOENT), "No such file or directory");
    assert_string_equal(sock_connect_words(ADDR_TCP, -ECONNRESET), "Connection reset by peer");
}

/* ---- vsock, played ---- */

static struct sockaddr_any vsock_address(uint32_t cid)
{
    struct addr addr = parse("vsock://%u:5000", cid);
    struct sockaddr_any at;
    assert_int_equal(addr_to_sockaddr(&addr, false, &at), 0);
    return at;
}

static int vsock_connect(int first, int second, bool *ret_pending)
{
    static const struct sock_options options = {.vsock_buffer_size = 1 << 20, .connect_timeout_ms = 1500};
    struct sockaddr_any at = vsock_address(16);
    memset(&vsock, 0, sizeof vsock);
    vsock.answers[0] = first;
    vsock.answers[1] = second;
    return sock_connect(&at, &options, ret_pending);
}

static void test_vsock_options_before_connecting(void **state)
{
    bool pending = true;
    (void)state;
    int fd = vsock_connect(0, 0, &pending);
    assert_true(fd >= 0);
    assert_false(pending);
    assert_int_equal(vsock.options, 3);
    assert_int_equal(vsock.option[0].name, SO_VM_SOCKETS_BUFFER_MAX_SIZE); /* the maximum first */
    assert_int_equal(vsock.option[0].size, 1 << 20);
    assert_int_equal(vsock.option[1].name, SO_VM_SOCKETS_BUFFER_SIZE);
    assert_int_equal(vsock.option[1].size, 1 << 20);
    assert_int_equal(vsock.option[2].name, SO_VM_SOCKETS_CONNECT_TIMEOUT);
    assert_int_equal(vsock.option[2].limit.tv_sec, 1);
    assert_int_equal(vsock.option[2].limit.tv_usec, 500000);
    close(fd);
}

static void test_vsock_defaults_are_left_alone(void **state)
{
    static const struct sock_options options = {.vsock_buffer_size = 0};
    struct sockaddr_any at = vsock_address(16);
    bool pending;
    (void)state;
    memset(&vsock, 0, sizeof vsock);
    int fd = sock_connect(&at, &options, &pending);
    assert_true(fd >= 0);
    assert_int_equal(vsock.options, 0);
    close(fd);
}

static void test_a_cid_nobody_reaches_is_tried_through_the_parent(void **state)
{
    bool pending = false;
    (void)state;
    int fd = vsock_connect(ENODEV, EINPROGRESS, &pending);
    assert_true(fd >= 0);
    assert_true(pending);
    assert_int_equal(vsock.connects, 2);
    assert_int_equal(vsock.flags[0] & VMADDR_FLAG_TO_HOST, 0);
    assert_int_equal(vsock.flags[1] & VMADDR_FLAG_TO_HOST, VMADDR_FLAG_TO_HOST);
    close(fd);
    assert_int_equal(vsock_connect(ENODEV, ENODEV, &pending), -ENODEV);
    assert_int_equal(vsock.connects, 2);
    assert_int_equal(vsock_connect(ECONNRESET, 0, &pending), -ECONNRESET);
    assert_int_equal(vsock.connects, 1);
}

static void test_vsock_listening(void **state)
{
    struct addr addr = parse("vsock://any:7000");
    struct sock_options options = {.vsock_buffer_size = 65536};
    struct error err = ERROR_INIT;
    (void)state;
    memset(&vsock, 0, sizeof vsock);
    int fd = sock_listen(&addr, &options, &err);
    assert_true(fd >= 0);
    assert_int_equal(vsock.options, 2); /* accepted sockets inherit the sizes */
    close(fd);
}

static void test_kinds(void **state)
{
    struct sockaddr_any at = vsock_address(16);
    (void)state;
    assert_int_equal(sock_kind(&at), ADDR_VSOCK);
    assert_int_equal(sock_peer_cid(&at), 16);
    at.u.base.sa_family = AF_INET6;
    assert_int_equal(sock_kind(&at), ADDR_TCP);
    at.u.base.sa_family = AF_UNSPEC;
    assert_int_equal(sock_kind(&at), ADDR_NONE);
}

/* ---- Faults ---- */

static void end_to_end(const struct addr *addr)
{
    struct error err = ERROR_INIT;
    struct sockaddr_any at = {.length = 0}, peer;
    bool pending;
    int listener = sock_listen(addr, &plain, &err);
    if (listener < 0) {
        assert_non_null(strstr(err.text, "cannot listen at "));
        return;
    }
    fault_spare(true);
    at = name_of(listener);
    fault_spare(false);
    int client = sock_connect(&at, &plain, &pending);
    assert_int_not_equal(client,
                         -1); /* never a bare -1: a descriptor or an errno value (EPERM is not injected) */
    if (client >= 0) {
        int server = sock_accept(listener, &peer);
        for (int i = 0; i < 1000 && server == -EAGAIN; i++) {
            server = sock_accept(listener, &peer);
        }
        (void)!sock_outcome(client);
        sock_set_abort(client);
        close(client);
        if (server >= 0) {
            close(server);
        }
    }
    close(listener);
}

static void scenario(void *arg)
{
    const struct addr *addr = arg;
    end_to_end(addr);
    if (addr->kind == ADDR_UNIX) {
        end_to_end(addr); /* over the leftover */
        fault_spare(true);
        unlink(addr->host);
        fault_spare(false);
    }
}

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_SOCKET | FAULT_ACCEPT | FAULT_BIND | FAULT_CONNECT |
                           FAULT_SOCKOPT | FAULT_FILE | FAULT_FCNTL;
    struct addr tcp = parse("tcp://127.0.0.1:0"), six = parse("tcp://[::1]:0");
    struct addr file = parse("unix://%s/faults", folder);
    (void)state;
    assert_true(fault_loop("sock tcp", calls, scenario, &tcp) >= 10);
    assert_true(fault_loop("sock tcp6", calls, scenario, &six) >= 10);
    assert_true(fault_loop("sock unix", calls, scenario, &file) >= 10);
    assert_true(fault_loop("sock tcp, sticky", calls | FAULT_STICKY, scenario, &tcp) >= 5);
    assert_true(fault_loop("sock unix, sticky", calls | FAULT_STICKY, scenario, &file) >= 5);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp_end_to_end),
        cmocka_unit_test(test_a_listener_of_somebody_elses_gets_the_options),
        cmocka_unit_test(test_a_v6_listener_leaves_v4_alone),
        cmocka_unit_test(test_a_refused_connection),
        cmocka_unit_test(test_an_abort_is_a_reset),
        cmocka_unit_test(test_the_file_has_its_mode),
        cmocka_unit_test(test_a_leftover_file_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(test_what_is_no_socket_is_not_replaced),
        cmocka_unit_test(test_an_abstract_name_has_no_file),
        cmocka_unit_test(test_hybrid_listens_beside_its_path),
        cmocka_unit_test(test_a_full_backlog_of_a_unix_socket),
        cmocka_unit_test(test_errors_say_what_to_do),
        cmocka_unit_test(test_what_may_not_be_bound),
        cmocka_unit_test(test_vsock_errors_say_what_to_do),
        cmocka_unit_test(test_what_a_failed_connect_means),
        cmocka_unit_test(test_vsock_options_before_connecting),
        cmocka_unit_test(test_vsock_defaults_are_left_alone),
        cmocka_unit_test(test_a_cid_nobody_reaches_is_tried_through_the_parent),
        cmocka_unit_test(test_vsock_listening),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
