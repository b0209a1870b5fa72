/*
 * The address guard: tables of the blocks that are not the public Internet's, and forms of IPv6 that
 * carry an IPv4 address, which then decides.
 */
#include "net/guard.h"
#include "base/compiler.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct block {
    uint8_t prefix[16];
    uint8_t bits;    /* of the prefix */
    uint8_t carries; /* where the IPv4 address that decides begins; 0: all of the block is refused */
    const char *name;
};

/* IANA IPv4 Special-Purpose Address Registry, and the classes D and E. The few assignments inside that are
 * globally reachable (192.0.0.9, 192.0.0.10: anycast of PCP and TURN) lead to no service of a route. */
static const struct block ipv4_blocks[] = {
    {{0}, 8, 0, "unspecified"},
    {{10}, 8, 0, "private"},
    {{100, 64}, 10, 0, "shared"},
    {{127}, 8, 0, "loopback"},
    {{169, 254}, 16, 0, "link-local"},
    {{172, 16}, 12, 0, "private"},
    {{192, 0, 0}, 24, 0, "reserved"},
    {{192, 0, 2}, 24, 0, "documentation"},
    {{192, 88, 99}, 24, 0, "reserved"}, /* 6to4 relays, withdrawn by RFC 7526 */
    {{192, 168}, 16, 0, "private"},
    {{198, 18}, 15, 0, "benchmarking"},
    {{198, 51, 100}, 24, 0, "documentation"},
    {{203, 0, 113}, 24, 0, "documentation"},
    {{224}, 4, 0, "multicast"},
    {{255, 255, 255, 255}, 32, 0, "broadcast"},
    {{240}, 4, 0, "reserved"},
};

/* IANA IPv6 Special-Purpose Address Registry. Blocks inside others come first. */
static const struct block ipv6_blocks[] = {
    {{0}, 128, 0, "unspecified"},
    {{[15] = 1}, 128, 0, "loopback"},
    {{0}, 96, 12, "compatible"},
    {{[10] = 0xff, [11] = 0xff}, 96, 12, "mapped"},
    {{0x00, 0x64, 0xff, 0x9b}, 96, 12, "NAT64"},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, 0, "NAT64 of local use"},
    {{0x01, 0x00}, 64, 0, "discard"},
    {{0x20, 0x01}, 32, 0, "Teredo"}, /* its IPv4 addresses are those of a tunnel's ends */
    {{0x20, 0x01}, 23, 0, "reserved"},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, 0, "documentation"},
    {{0x20, 0x02}, 16, 2, "6to4"},
    {{0x3f, 0xff}, 20, 0, "documentation"},
    {{0x5f, 0x00}, 16, 0, "segment routing"},
    {{0xfc}, 7, 0, "private"},
    {{0xfe, 0x80}, 10, 0, "link-local"},
    {{0xfe, 0xc0}, 10, 0, "private"}, /* site-local, withdrawn by RFC 3879 */
    {{0xff}, 8, 0, "multicast"},
};

/* What IANA gives out: nothing else is routed. */
static const struct block ipv6_global = {{0x20}, 3, 0, "global"};

static bool is_inside(const struct block *block, const uint8_t *address)
{
    unsigned bytes = block->bits / 8;
    unsigned rest = block->bits % 8;
    uint8_t mask = (uint8_t)(0xff00u >> rest);

    if (memcmp(block->prefix, address, bytes) != 0) {
        return false;
    }
    return rest == 0 || ((block->prefix[bytes] ^ address[bytes]) & mask) == 0;
}

static const char *ipv4_block(const uint8_t address[4])
{
    for (size_t i = 0; i < ARRAY_SIZE(ipv4_blocks); i++) {
        if (is_inside(&ipv4_blocks[i], address)) {
            return ipv4_blocks[i].name;
        }
    }
    return NULL;
}

/* An interface identifier of RFC 5214, under any prefix: [02]00:5efe and an IPv4 address. */
static bool is_isatap(const uint8_t address[16])
{
    static const uint8_t identifier[4] = {0x00, 0x00, 0x5e, 0xfe};
    uint8_t copy[4];

    memcpy(copy, address + 8, sizeof(copy));
    copy[0] &= (uint8_t)~0x03; /* the universal bit, and the group bit beside it */
    return memcmp(copy, identifier, sizeof(identifier)) == 0;
}

static const char *ipv6_block(const uint8_t address[16])
{
    bool global = is_inside(&ipv6_global, address);

    for (size_t i = 0; i < ARRAY_SIZE(ipv6_blocks); i++) {
        const struct block *block = &ipv6_blocks[i];
        if (!is_inside(block, address)) {
            continue;
        }
        if (block->carries == 0) {
            return block->name;
        }
        const char *name = ipv4_block(address + block->carries);
        if (name != NULL) {
            return name;
        }
        global = true;
    }
    if (is_isatap(address)) {
        const char *name = ipv4_block(address + 12);
        if (name != NULL) {
            return name;
        }
    }
    return global ? NULL : "reserved";
}

const char *guard_block(const struct sockaddr *address)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    uint8_t bytes[16];

    switch (address->sa_family) {
    case AF_INET:
        memcpy(&in, address, sizeof(in));
        memcpy(bytes, &in.sin_addr, 4);
        return ipv4_block(bytes);
    case AF_INET6:
        memcpy(&in6, address, sizeof(in6));
        memcpy(bytes, &in6.sin6_addr, 16);
        return ipv6_block(bytes);
    default:
        return "not an IP address";
    }
}
