/* Addresses as the kernel and the logs have them. */
#include "parsed_addr.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static void sockaddr_of_vsock(void **state)
{
    struct addr addr = parsed("vsock://16:5000");
    struct sockaddr_any any;
    struct sockaddr_vm vm;
    (void)state;
    assert_int_equal(addr_to_sockaddr(&addr, false, &any), 0);
    assert_int_equal(any.length, sizeof(vm));
    memcpy(&vm, &any.u, sizeof(vm));
    assert_int_equal(vm.svm_family, AF_VSOCK);
    assert_int_equal(vm.svm_cid, 16);
    assert_int_equal(vm.svm_port, 5000);
    assert_int_equal(vm.svm_flags, 0);

    addr = parsed("vsock://any:1");
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), 0);
    assert_int_equal(addr_to_sockaddr(&addr, false, &any), -EINVAL);
    addr = parsed("vsock://payroll:1");
    assert_int_equal(addr_to_sockaddr(&addr, false, &any), -EINVAL);
}

static void sockaddr_of_unix(void **state)
{
    struct addr addr = parsed("unix:///run/x");
    struct sockaddr_any any;
    struct sockaddr_un un;
    (void)state;
    assert_int_equal(addr_to_sockaddr(&addr, false, &any), 0);
    memcpy(&un, &any.u, sizeof(un));
    assert_int_equal(un.sun_family, AF_UNIX);
    assert_string_equal(un.sun_path, "/run/x");
    assert_int_equal(any.length, offsetof(struct sockaddr_un, sun_path) + 7);

    addr = parsed("unix://@abc");
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), 0);
    memcpy(&un, &any.u, sizeof(un));
    assert_memory_equal(un.sun_path, "\0abc", 4);
    assert_int_equal(any.length, offsetof(struct sockaddr_un, sun_path) + 4);

    addr.host[0] = '\0';
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), -EINVAL);
    memset(addr.host, 'a', 108);
    addr.host[108] = '\0';
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), -EINVAL);
}

static void sockaddr_of_hybrid(void **state)
{
    struct addr addr = parsed("hybrid:///run/x:52");
    struct sockaddr_any any;
    struct sockaddr_un un;
    (void)state;
    assert_int_equal(addr_to_sockaddr(&addr, false, &any), 0);
    memcpy(&un, &any.u, sizeof(un));
    assert_string_equal(un.sun_path, "/run/x");
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), 0);
    memcpy(&un, &any.u, sizeof(un));
    assert_string_equal(un.sun_path, "/run/x_52");
}

static void sockaddr_of_tcp(void **state)
{
    struct addr addr = parsed("tcp://10.1.2.3:443");
    struct sockaddr_any any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    (void)state;
    assert_int_equal(addr_to_sockaddr(&addr, false, &any), 0);
    assert_int_equal(any.length, sizeof(in));
    memcpy(&in, &any.u, sizeof(in));
    assert_int_equal(in.sin_family, AF_INET);
    assert_int_equal(ntohl(in.sin_addr.s_addr), 0x0a010203);
    assert_int_equal(ntohs(in.sin_port), 443);

    addr = parsed("tcp://[::1]:443");
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), 0);
    assert_int_equal(any.length, sizeof(in6));
    memcpy(&in6, &any.u, sizeof(in6));
    assert_int_equal(in6.sin6_family, AF_INET6);
    assert_memory_equal(&in6.sin6_addr, &in6addr_loopback, 16);
    assert_int_equal(ntohs(in6.sin6_port), 443);

    addr.port = 65536;
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), -EINVAL);
    addr = parsed("tcp://h:1");
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), -EINVAL);
    addr.literal = true; /* made up by a caller in error */
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), -EINVAL);
    addr.kind = ADDR_NONE;
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), -EINVAL);
}

static const char *formatted(const char *text, bool listening)
{
    static char buffer[ADDR_TEXT_MAX];
    struct addr addr = parsed(text);
    struct sockaddr_any any;
    assert_int_equal(addr_to_sockaddr(&addr, listening, &any), 0);
    return sockaddr_format(&any, buffer);
}

static void sockaddrs_for_logs(void **state)
{
    struct sockaddr_any any = {.length = sizeof(sa_family_t)};
    char buffer[ADDR_TEXT_MAX];
    struct addr none = {.kind = ADDR_NONE};
    (void)state;

    assert_string_equal(formatted("tcp://10.0.0.1:443", false), "10.0.0.1:443");
    assert_string_equal(formatted("tcp://[::1]:443", false), "[::1]:443");
    assert_string_equal(formatted("vsock://16:5000", false), "vsock 16:5000");
    assert_string_equal(formatted("vsock://any:5000", true), "vsock any:5000");
    assert_string_equal(formatted("unix:///run/x", false), "unix /run/x");
    assert_string_equal(formatted("unix://@x", false), "unix @x");
    assert_string_equal(formatted("hybrid:///run/x:1", true), "unix /run/x_1");
    assert_string_equal(formatted("unix:///" FIFTY FIFTY "123456", true), "unix /" FIFTY FIFTY "123456");

    any.u.base.sa_family = AF_UNIX; /* a client that bound nothing */
    assert_string_equal(sockaddr_format(&any, buffer), "unix");
    any.u.base.sa_family = AF_NETLINK;
    assert_string_equal(sockaddr_format(&any, buffer), "family 16");
    assert_string_equal(addr_format(&none, buffer), "none");
}

/* A caller's own name may hold anything, and fill the field to its end without a NUL. */
static void hostile_unix_names_for_logs(void **state)
{
    struct sockaddr_any any = {.length = sizeof(struct sockaddr_un)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char buffer[ADDR_TEXT_MAX];
    (void)state;

    memset(un.sun_path, 'a', sizeof(un.sun_path));
    memcpy(&any.u, &un, sizeof(un));
    assert_int_equal(strlen(sockaddr_format(&any, buffer)), strlen("unix ") + 108);

    memcpy(un.sun_path, "\0x\0\x1b[m\xff", 7);
    memcpy(&any.u, &un, sizeof(un));
    any.length = offsetof(struct sockaddr_un, sun_path) + 7;
    assert_string_equal(sockaddr_format(&any, buffer), "unix @x@?[m?");

    any.length = sizeof(any.u) + 100; /* never from the kernel */
    assert_int_equal(strlen(sockaddr_format(&any, buffer)), strlen("unix ") + 108);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockaddr_of_vsock),  cmocka_unit_test(sockaddr_of_unix),
        cmocka_unit_test(sockaddr_of_hybrid), cmocka_unit_test(sockaddr_of_tcp),
        cmocka_unit_test(sockaddrs_for_logs), cmocka_unit_test(hostile_unix_names_for_logs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
