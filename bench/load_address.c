/* Literal addresses and the sockets made from them. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#define CALL_SECONDS 10 /* the longest that one blocking call may take */

static unsigned long port_after(const char *text, const char *colon, unsigned long most)
{
    char *end;
    unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
    if (colon == NULL || colon[1] == '\0' || *end != '\0' || port == 0 || port > most) {
        die("'%s' has no port from 1 to %lu", text, most);
    }
    return port;
}

static struct address parse_tcp(const char *text, const char *rest)
{
    char host[64];
    const char *colon = strrchr(rest, ':');
    unsigned long port = port_after(text, colon, 65535);
    bool brackets = rest[0] == '[' && colon[-1] == ']';
    snprintf(host, sizeof host, "%.*s", (int)(colon - rest - (brackets ? 2 : 0)), rest + (brackets ? 1 : 0));
    struct address ret = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&ret.u.storage;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret.u.storage;
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        ret.length = sizeof *in;
    } else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        ret.length = sizeof *in6;
    } else {
        die("'%s' has no IP address", text);
    }
    return ret;
}

static struct address parse_unix(const char *text, const char *path)
{
    struct address ret = {0};
    struct sockaddr_un *un = (struct sockaddr_un *)&ret.u.storage;
    size_t length = strlen(path);
    if (length < 2 || length >= sizeof un->sun_path) {
        die("'%s' has no path, or one too long", text);
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, length);
    if (path[0] == '@') {
        un->sun_path[0] = '\0';
    }
    ret.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] != '@'));
    return ret;
}

static struct address parse_vsock(const char *text, const char *rest)
{
    struct address ret = {.length = sizeof(struct sockaddr_vm)};
    struct sockaddr_vm *vm = (struct sockaddr_vm *)&ret.u.storage;
    char *end;
    vm->svm_family = AF_VSOCK;
    vm->svm_port = (unsigned)port_after(text, strchr(rest, ':'), 0xfffffffe);
    if (strncmp(rest, "any:", 4) == 0) {
        vm->svm_cid = VMADDR_CID_ANY;
    } else if (strncmp(rest, "local:", 6) == 0) {
        vm->svm_cid = VMADDR_CID_LOCAL;
    } else {
        vm->svm_cid = (unsigned)strtoul(rest, &end, 10);
        if (*end != ':') {
            die("'%s' has no CID", text);
        }
    }
    return ret;
}

struct address address_parse(const char *text)
{
    if (strncmp(text, "tcp://", 6) == 0) {
        return parse_tcp(text, text + 6);
    }
    if (strncmp(text, "unix://", 7) == 0) {
        return parse_unix(text, text + 7);
    }
    if (strncmp(text, "vsock://", 8) == 0) {
        return parse_vsock(text, text + 8);
    }
    die("'%s' is not an address: tcp://, unix:// or vsock://", text);
}

static bool is_tcp(const struct address *address)
{
    return address->u.base.sa_family == AF_INET || address->u.base.sa_family == AF_INET6;
}

void no_delay(int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int open_socket(const struct address *address, int flags)
{
    int fd = socket(address->u.base.sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) {
        die("cannot open a socket: %s", strerror(errno));
    }
    if (is_tcp(address)) {
        no_delay(fd);
    }
    return fd;
}

int open_listener(const struct address *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->u.storage;
    int one = 1;
    int fd = open_socket(address, SOCK_NONBLOCK);
    if (is_tcp(address)) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    } else if (un->sun_family == AF_UNIX && un->sun_path[0] != '\0') {
        unlink(un->sun_path);
    }
    if (bind(fd, &address->u.base, address->length) != 0 || listen(fd, 4096) != 0) {
        die("cannot listen: %s", strerror(errno));
    }
    return fd;
}

int open_connection(const struct address *address)
{
    struct timeval bound = {.tv_sec = CALL_SECONDS};
    int fd = open_socket(address, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    if (connect(fd, &address->u.base, address->length) != 0) {
        die("cannot connect to the relay: %s", strerror(errno));
    }
    return fd;
}
