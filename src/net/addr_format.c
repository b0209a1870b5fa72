/*
 * Addresses that were read: back to text, compared, and turned into the kernel's socket addresses.
 */
#include "net/addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define SUN_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

static const char *format_vsock(const struct addr *addr, char buffer[ADDR_TEXT_MAX])
{
    const char *word = addr->cid_by_name              ? addr->host
                       : addr->cid == ADDR_CID_ANY    ? "any"
                       : addr->cid == ADDR_CID_LOCAL  ? "local"
                       : addr->cid == ADDR_CID_PARENT ? "parent"
                                                      : NULL;
    if (word != NULL) {
        snprintf(buffer, ADDR_TEXT_MAX, "vsock://%s:%u", word, addr->port);
    } else {
        snprintf(buffer, ADDR_TEXT_MAX, "vsock://%u:%u", addr->cid, addr->port);
    }
    return buffer;
}

const char *addr_format(const struct addr *addr, char buffer[ADDR_TEXT_MAX])
{
    bool brackets = addr->literal && strchr(addr->host, ':') != NULL;

    switch (addr->kind) {
    case ADDR_VSOCK:
        return format_vsock(addr, buffer);
    case ADDR_UNIX:
        snprintf(buffer, ADDR_TEXT_MAX, "unix://%s", addr->host);
        return buffer;
    case ADDR_TCP:
        snprintf(buffer, ADDR_TEXT_MAX, brackets ? "tcp://[%s]:%u" : "tcp://%s:%u", addr->host, addr->port);
        return buffer;
    case ADDR_HYBRID:
        snprintf(buffer, ADDR_TEXT_MAX, "hybrid://%s:%u", addr->host, addr->port);
        return buffer;
    case ADDR_NONE:
        break;
    }
    snprintf(buffer, ADDR_TEXT_MAX, "none");
    return buffer;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    if (a->kind != b->kind || a->port != b->port) {
        return false;
    }
    if (a->kind == ADDR_VSOCK && !a->cid_by_name && !b->cid_by_name) {
        return a->cid == b->cid;
    }
    return a->cid_by_name == b->cid_by_name && strcmp(a->host, b->host) == 0;
}

static int vsock_sockaddr(const struct addr *addr, bool listening, struct sockaddr_any *ret)
{
    struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = addr->cid, .svm_port = addr->port};

    if (addr->cid_by_name || (addr->cid == ADDR_CID_ANY && !listening)) {
        return -EINVAL;
    }
    memcpy(&ret->u, &vm, sizeof(vm));
    ret->length = sizeof(vm);
    return 0;
}

static int unix_sockaddr(const char *path, struct sockaddr_any *ret)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    bool abstract = path[0] == '@';

    if (length == 0 || length > SUN_PATH_MAX) {
        return -EINVAL;
    }
    memcpy(un.sun_path, path, length);
    if (abstract) {
        un.sun_path[0] = '\0';
    }
    memcpy(&ret->u, &un, sizeof(un));
    ret->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (abstract ? 0 : 1));
    return 0;
}

static int hybrid_sockaddr(const struct addr *addr, bool listening, struct sockaddr_any *ret)
{
    char path[ADDR_TEXT_MAX];

    if (!listening) {
        return unix_sockaddr(addr->host, ret);
    }
    snprintf(path, sizeof(path), "%s_%u", addr->host, addr->port);
    return unix_sockaddr(path, ret);
}

static int tcp_sockaddr(const struct addr *addr, struct sockaddr_any *ret)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)addr->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)addr->port)};

    if (!addr->literal || addr->port > UINT16_MAX) {
        return -EINVAL;
    }
    if (inet_pton(AF_INET, addr->host, &in.sin_addr) == 1) {
        memcpy(&ret->u, &in, sizeof(in));
        ret->length = sizeof(in);
        return 0;
    }
    if (inet_pton(AF_INET6, addr->host, &in6.sin6_addr) != 1) {
        return -EINVAL;
    }
    memcpy(&ret->u, &in6, sizeof(in6));
    ret->length = sizeof(in6);
    return 0;
}

int addr_to_sockaddr(const struct addr *addr, bool listening, struct sockaddr_any *ret)
{
    memset(ret, 0, sizeof(*ret));
    switch (addr->kind) {
    case ADDR_VSOCK:
        return vsock_sockaddr(addr, listening, ret);
    case ADDR_UNIX:
        return unix_sockaddr(addr->host, ret);
    case ADDR_TCP:
        return tcp_sockaddr(addr, ret);
    case ADDR_HYBRID:
        return hybrid_sockaddr(addr, listening, ret);
    case ADDR_NONE:
        break;
    }
    return -EINVAL;
}

/* ---- For logs ---- */

static const char *format_inet(const struct sockaddr_any *sockaddr, char buffer[ADDR_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (sockaddr->u.base.sa_family == AF_INET) {
        memcpy(&in, &sockaddr->u, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, ip, sizeof(ip));
        snprintf(buffer, ADDR_TEXT_MAX, "%s:%u", ip, ntohs(in.sin_port));
        return buffer;
    }
    memcpy(&in6, &sockaddr->u, sizeof(in6));
    inet_ntop(AF_INET6, &in6.sin6_addr, ip, sizeof(ip));
    snprintf(buffer, ADDR_TEXT_MAX, "[%s]:%u", ip, ntohs(in6.sin6_port));
    return buffer;
}

/* A caller chooses the name of its own socket: any bytes, NULs among them where it is abstract. */
static const char *format_unix(const struct sockaddr_any *sockaddr, char buffer[ADDR_TEXT_MAX])
{
    struct sockaddr_un un;
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t length = sockaddr->length > start ? sockaddr->length - start : 0;
    size_t n = (size_t)snprintf(buffer, ADDR_TEXT_MAX, "unix");

    memcpy(&un, &sockaddr->u, sizeof(un));
    if (length > sizeof(un.sun_path)) {
        length = sizeof(un.sun_path);
    }
    if (length > 0 && un.sun_path[0] != '\0') {
        length = strnlen(un.sun_path, length);
    }
    if (length > 0) {
        buffer[n++] = ' ';
    }
    for (size_t i = 0; i < length; i++) {
        char c = un.sun_path[i];
        buffer[n++] = c == '\0' ? '@' : c >= 0x20 && c < 0x7f ? c : '?';
    }
    buffer[n] = '\0';
    return buffer;
}

static const char *format_vm(const struct sockaddr_any *sockaddr, char buffer[ADDR_TEXT_MAX])
{
    struct sockaddr_vm vm;

    memcpy(&vm, &sockaddr->u, sizeof(vm));
    if (vm.svm_cid == VMADDR_CID_ANY) {
        snprintf(buffer, ADDR_TEXT_MAX, "vsock any:%u", vm.svm_port);
    } else {
        snprintf(buffer, ADDR_TEXT_MAX, "vsock %u:%u", vm.svm_cid, vm.svm_port);
    }
    return buffer;
}

const char *sockaddr_format(const struct sockaddr_any *sockaddr, char buffer[ADDR_TEXT_MAX])
{
    switch (sockaddr->u.base.sa_family) {
    case AF_INET:
    case AF_INET6:
        return format_inet(sockaddr, buffer);
    case AF_UNIX:
        return format_unix(sockaddr, buffer);
    case AF_VSOCK:
        return format_vm(sockaddr, buffer);
    default:
        snprintf(buffer, ADDR_TEXT_MAX, "family %u", sockaddr->u.base.sa_family);
        return buffer;
    }
}
