/* The address guard: the first and the last address of every block, and the neighbours on both sides. */
#include "base/compiler.h"
#include "net/addr.h"
#include "net/guard.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PUBLIC NULL

struct expected {
    const char *address;
    const char *block;
};

static struct sockaddr_any socket_address(const char *text)
{
    struct sockaddr_any any = {.length = 0};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(443)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)};

    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(&any.u, &in, sizeof(in));
        any.length = sizeof(in);
    } else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1) {
        memcpy(&any.u, &in6, sizeof(in6));
        any.length = sizeof(in6);
    } else {
        fail_msg("%s is not an IP address", text);
    }
    return any;
}

static void check(const struct expected *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sockaddr_any any = socket_address(expected[i].address);
        const char *block = guard_block(&any.u.base);
        const char *wanted = expected[i].block;
        if ((block == NULL) != (wanted == NULL) || (block != NULL && strcmp(block, wanted) != 0)) {
            fail_msg("%s: %s, expected %s", expected[i].address, block ? block : "public",
                     wanted ? wanted : "public");
        }
    }
}

static void ipv4_boundaries(void **state)
{
    static const struct expected expected[] = {
        {"0.0.0.0", "unspecified"},
        {"0.255.255.255", "unspecified"},
        {"1.0.0.0", PUBLIC},
        {"9.255.255.255", PUBLIC},
        {"10.0.0.0", "private"},
        {"10.255.255.255", "private"},
        {"11.0.0.0", PUBLIC},
        {"100.63.255.255", PUBLIC},
        {"100.64.0.0", "shared"},
        {"100.127.255.255", "shared"},
        {"100.128.0.0", PUBLIC},
        {"126.255.255.255", PUBLIC},
        {"127.0.0.0", "loopback"},
        {"127.0.0.1", "loopback"},
        {"127.255.255.255", "loopback"},
        {"128.0.0.0", PUBLIC},
        {"169.253.255.255", PUBLIC},
        {"169.254.0.0", "link-local"},
        {"169.254.169.254", "link-local"},
        {"169.254.255.255", "link-local"},
        {"169.255.0.0", PUBLIC},
        {"172.15.255.255", PUBLIC},
        {"172.16.0.0", "private"},
        {"172.31.255.255", "private"},
        {"172.32.0.0", PUBLIC},
        {"191.255.255.255", PUBLIC},
        {"192.0.0.0", "reserved"},
        {"192.0.0.255", "reserved"},
        {"192.0.1.0", PUBLIC},
        {"192.0.1.255", PUBLIC},
        {"192.0.2.0", "documentation"},
        {"192.0.2.255", "documentation"},
        {"192.0.3.0", PUBLIC},
        {"192.88.98.255", PUBLIC},
        {"192.88.99.0", "reserved"},
        {"192.88.99.255", "reserved"},
        {"192.88.100.0", PUBLIC},
        {"192.167.255.255", PUBLIC},
        {"192.168.0.0", "private"},
        {"192.168.255.255", "private"},
        {"192.169.0.0", PUBLIC},
        {"198.17.255.255", PUBLIC},
        {"198.18.0.0", "benchmarking"},
        {"198.19.255.255", "benchmarking"},
        {"198.20.0.0", PUBLIC},
        {"198.51.99.255", PUBLIC},
        {"198.51.100.0", "documentation"},
        {"198.51.100.255", "documentation"},
        {"198.51.101.0", PUBLIC},
        {"203.0.112.255", PUBLIC},
        {"203.0.113.0", "documentation"},
        {"203.0.113.255", "documentation"},
        {"203.0.114.0", PUBLIC},
        {"223.255.255.255", PUBLIC},
        {"224.0.0.0", "multicast"},
        {"239.255.255.255", "multicast"},
        {"240.0.0.0", "reserved"},
        {"255.255.255.254", "reserved"},
        {"255.255.255.255", "broadcast"},
    };
    (void)state;
    check(expected, ARRAY_SIZE(expected));
}

static void ipv6_boundaries(void **state)
{
    static const char last[] = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    static const struct expected expected[] = {
        {"::", "unspecified"},
        {"::1", "loopback"},
        {"::1:0:0:0", "reserved"},
        {"64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"64:ff9b::1:0:0", "reserved"},
        {"64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"64:ff9b:1::", "NAT64 of local use"},
        {"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "NAT64 of local use"},
        {"64:ff9b:2::", "reserved"},
        {"ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"100::", "discard"},
        {"100::ffff:ffff:ffff:ffff", "discard"},
        {"100:0:0:1::", "reserved"},
        {"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"2000::", PUBLIC},
        {"2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC},
        {"2001::", "Teredo"},
        {"2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"},
        {"2001:1::", "reserved"},
        {"2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"2001:200::", PUBLIC},
        {"2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC},
        {"2001:db8::", "documentation"},
        {"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"},
        {"2001:db9::", PUBLIC},
        {"2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC},
        {"2003::", PUBLIC},
        {"3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC},
        {"3fff::", "documentation"},
        {"3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "documentation"},
        {"3fff:1000::", PUBLIC},
        {"3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PUBLIC},
        {"4000::", "reserved"},
        {"5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"5f00::", "segment routing"},
        {"5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "segment routing"},
        {"5f01::", "reserved"},
        {"fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"fc00::", "private"},
        {"fd00:ec2::254", "private"},
        {"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"},
        {"fe00::", "reserved"},
        {"fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
        {"fe80::", "link-local"},
        {"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"},
        {"fec0::", "private"},
        {"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "private"},
        {"ff00::", "multicast"},
        {last, "multicast"},
    };
    (void)state;
    check(expected, ARRAY_SIZE(expected));
}

/* Forms that carry an IPv4 address, which then decides. */
static void embedded_ipv4(void **state)
{
    static const struct expected expected[] = {
        /* compatible */
        {"::0.0.0.2", "unspecified"},
        {"::127.0.0.1", "loopback"},
        {"::10.0.0.1", "private"},
        {"::8.8.8.8", PUBLIC},
        {"::255.255.255.255", "broadcast"},
        /* mapped, and what stands beside it */
        {"::fffe:ffff:ffff", "reserved"},
        {"::ffff:0.0.0.0", "unspecified"},
        {"::ffff:127.0.0.1", "loopback"},
        {"::ffff:169.254.169.254", "link-local"},
        {"::ffff:192.168.1.1", "private"},
        {"::ffff:8.8.8.8", PUBLIC},
        {"::ffff:255.255.255.255", "broadcast"},
        {"::ffff:0:127.0.0.1", "reserved"}, /* translated (SIIT) */
        {"::ffff:0:8.8.8.8", "reserved"},
        /* NAT64 */
        {"64:ff9b::0.0.0.0", "unspecified"},
        {"64:ff9b::10.1.2.3", "private"},
        {"64:ff9b::169.254.169.254", "link-local"},
        {"64:ff9b::8.8.8.8", PUBLIC},
        {"64:ff9b::255.255.255.255", "broadcast"},
        {"64:ff9b:1::8.8.8.8", "NAT64 of local use"},
        /* 6to4 */
        {"2002::", "unspecified"},
        {"2002:7f00:1::1", "loopback"},
        {"2002:a9fe:a9fe::1", "link-local"},
        {"2002:c0a8:101::", "private"},
        {"2002:808:808::1", PUBLIC},
        {"2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "broadcast"},
        /* Teredo: whatever it carries */
        {"2001:0:808:808:0:ffff:f7f7:f7f7", "Teredo"},
        /* ISATAP, under a global prefix, with the universal bit clear and set */
        {"2600:1f18::5efe:10.0.0.1", "private"},
        {"2600:1f18::200:5efe:169.254.169.254", "link-local"},
        {"2600:1f18::100:5efe:127.0.0.1", "loopback"},
        {"2600:1f18::200:5efe:8.8.8.8", PUBLIC},
        {"2600:1f18::400:5efe:10.0.0.1", PUBLIC},
        {"2600:1f18::5eff:10.0.0.1", PUBLIC},
        {"4000::5efe:8.8.8.8", "reserved"},
        /* a public one inside does not make up for a private one */
        {"2002:808:808::5efe:10.0.0.1", "private"},
    };
    (void)state;
    check(expected, ARRAY_SIZE(expected));
}

/* Some of what routes lead to: regional services of AWS and public resolvers. */
static void the_public_internet(void **state)
{
    static const struct expected expected[] = {
        {"3.5.0.1", PUBLIC},           {"13.248.118.1", PUBLIC},      {"18.194.0.1", PUBLIC},
        {"52.46.128.1", PUBLIC},       {"52.119.224.1", PUBLIC},      {"54.239.28.85", PUBLIC},
        {"99.77.128.1", PUBLIC},       {"176.32.103.205", PUBLIC},    {"205.251.242.103", PUBLIC},
        {"1.1.1.1", PUBLIC},           {"192.31.196.1", PUBLIC},      {"192.175.48.1", PUBLIC},
        {"2600:1f18:1234::1", PUBLIC}, {"2600:9000:20a5::1", PUBLIC}, {"2a05:d018::1", PUBLIC},
        {"2406:da00:ff00::1", PUBLIC}, {"2620:107:300f::1", PUBLIC},  {"2a00:1450:4001::200e", PUBLIC},
        {"2620:4f:8000::1", PUBLIC},
    };
    (void)state;
    check(expected, ARRAY_SIZE(expected));
}

static void other_families(void **state)
{
    static const sa_family_t families[] = {AF_UNSPEC, AF_UNIX, AF_VSOCK};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        struct sockaddr address = {.sa_family = families[i]};
        assert_string_equal(guard_block(&address), "not an IP address");
    }
}

/* Each /16 as a whole is on one side, but for those that a smaller block cuts: no gap in the table. */
static void every_ipv4_sixteenth(void **state)
{
    unsigned refused = 0;
    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        char text[INET_ADDRSTRLEN];
        snprintf(text, sizeof(text), "%u.%u.128.1", i >> 8, i & 0xff);
        struct sockaddr_any any = socket_address(text);
        refused += guard_block(&any.u.base) != NULL;
    }
    /* 0/8, 10/8, 127/8; 100.64/10; 169.254/16, 192.168/16; 172.16/12; 198.18/15; 224/3 */
    assert_int_equal(refused, 3 * 256 + 64 + 2 + 16 + 2 + 32 * 256);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_boundaries), cmocka_unit_test(ipv6_boundaries),
        cmocka_unit_test(embedded_ipv4),   cmocka_unit_test(the_public_internet),
        cmocka_unit_test(other_families),  cmocka_unit_test(every_ipv4_sixteenth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
