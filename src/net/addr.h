/*
 * Addresses as the configuration and the command lines write them:
 *
 *     vsock://CID:PORT       CID a number, `any`, `parent` (3), `local` (1), or an enclave's name
 *     unix:///path           also unix://@name for the abstract namespace
 *     tcp://HOST:PORT        HOST a name, an IPv4 address, or an IPv6 address in brackets
 *     hybrid:///path:PORT    vsock over a unix socket: listening means path_PORT, connecting means path
 *                            with "CONNECT PORT\n" answered by "OK n\n" (Firecracker, Cloud Hypervisor)
 *
 * Pure: nothing here asks the system or the network anything.
 */
#ifndef POSTERN_NET_ADDR_H
#define POSTERN_NET_ADDR_H

#include "base/compiler.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum addr_kind { ADDR_NONE, ADDR_VSOCK, ADDR_UNIX, ADDR_TCP, ADDR_HYBRID };

#define ADDR_HOST_MAX 254 /* a DNS name's 253 bytes and the end; unix paths are shorter (108) */
#define ADDR_TEXT_MAX 320

#define ADDR_CID_ANY    0xffffffffu
#define ADDR_CID_LOCAL  1u
#define ADDR_CID_PARENT 3u

struct addr {
    enum addr_kind kind;
    uint32_t cid;     /* vsock; meaningless while cid_by_name */
    uint32_t port;    /* vsock and hybrid: 32 bits; tcp: 1..65535 */
    bool cid_by_name; /* vsock://payroll:8443: `host` is the enclave's name, to be looked up by the caller */
    bool literal;     /* tcp: `host` is an IP address, and no resolver is needed */
    char host[ADDR_HOST_MAX]; /* tcp: name (lower case, no final dot) or address without brackets;
                                 unix, hybrid: path, '@' first for the abstract namespace */
};

/* Parses the whole of `text`. Returns 0 or -EINVAL with the text of `err` saying what is wrong, what was
 * expected, and the form that was probably meant. Port 0 is refused but for a TCP listener's (see below). */
int addr_parse(const char *text, struct addr *ret, struct error *err) MUST_CHECK;

/* The same with port 0 allowed for tcp: "any free port", for listeners in tests. */
int addr_parse_listen(const char *text, struct addr *ret, struct error *err) MUST_CHECK;

/* Back to the text form; what comes out parses to the same address. */
const char *addr_format(const struct addr *addr, char buffer[ADDR_TEXT_MAX]);

bool addr_equal(const struct addr *a, const struct addr *b);

/* A valid DNS host name: 1..253 bytes of letters, digits, '-' and '_', labels of 1..63, no final dot.
 * Neither an IP address nor all digits in its last label. */
bool addr_is_hostname(const char *name);

/* A socket address with room for every family, and its length. */
struct sockaddr_any {
    socklen_t length;
    union {
        struct sockaddr base;
        struct sockaddr_storage storage;
    } u;
};

/* The socket address of an address that needs no look-up: vsock with a number, unix, hybrid (`listening`
 * chooses path_PORT or path), tcp with a literal host. -EINVAL otherwise, or where a path is too long. */
int addr_to_sockaddr(const struct addr *addr, bool listening, struct sockaddr_any *ret) MUST_CHECK;

/* For logs: "10.0.0.1:443", "[::1]:443", "vsock 16:5000", "unix" or "unix /path". */
const char *sockaddr_format(const struct sockaddr_any *sockaddr, char buffer[ADDR_TEXT_MAX]);

#endif
