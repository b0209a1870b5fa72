/* Sockets of every family: see sock.h. */
#include "net/sock.h"

#include "net/sock_file.h"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* The kernel clamps it to net.core.somaxconn. */
#define BACKLOG 4096

enum addr_kind sock_kind(const struct sockaddr_any *sockaddr)
{
    switch (sockaddr->u.base.sa_family) {
    case AF_INET:
    case AF_INET6:
        return ADDR_TCP;
    case AF_UNIX:
        return ADDR_UNIX;
    case AF_VSOCK:
        return ADDR_VSOCK;
    default:
        return ADDR_NONE;
    }
}

uint32_t sock_peer_cid(const struct sockaddr_any *peer)
{
    struct sockaddr_vm vm;
    memcpy(&vm, &peer->u.storage, sizeof vm);
    return vm.svm_cid;
}

static void set_int(int fd, int level, int name, int value)
{
    /* Each of these makes things better and none is needed: a kernel that refuses one is left alone. */
    (void)setsockopt(fd, level, name, &value, sizeof value);
}

/* The maximum first: the size alone is clamped to it without a word. Eight bytes, or the kernel refuses. */
static void set_vsock_buffers(int fd, uint64_t size)
{
    if (size == 0) {
        return;
    }
    (void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &size, sizeof size);
    (void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof size);
}

static void set_stream_options(int fd, int family, const struct sock_options *options)
{
    if (family == AF_INET || family == AF_INET6) {
        set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1); /* an urgent byte is a byte: it would be left out */
    } else if (family == AF_VSOCK) {
        set_vsock_buffers(fd, options->vsock_buffer_size);
    }
}

/* Whether the file is a leftover: it is a socket, and nobody accepts there. (connect() refuses a
 * plain file, too.) */
static bool is_leftover(const char *path, const struct sockaddr_any *at)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    bool refused = connect(fd, &at->u.base, at->length) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static const char *unix_file(const struct sockaddr_any *at)
{
    const char *path = ((const struct sockaddr_un *)(const void *)&at->u.storage)->sun_path;
    return path[0] == '\0' ? NULL : path; /* abstract names have no file */
}

static int bind_unix(int fd, const struct sockaddr_any *at, unsigned mode)
{
    const char *path = unix_file(at);
    /* The file must never be wider open than it will be: umask is the process's, fchmod() before
     * bind() is not. */
    if (path != NULL) {
        (void)fchmod(fd, mode);
    }
    int rv = bind(fd, &at->u.base, at->length) == 0 ? 0 : -errno;
    if (rv == -EADDRINUSE && path != NULL && is_leftover(path, at)) {
        (void)unlink(path);
        rv = bind(fd, &at->u.base, at->length) == 0 ? 0 : -errno;
    }
    return rv == 0 && path != NULL ? sock_file_set_mode(path, NULL, mode) : rv;
}

bool sock_is_other_file(const struct addr *addr)
{
    struct sockaddr_any at;
    struct stat st;
    if (addr_to_sockaddr(addr, true, &at) != 0 || at.u.base.sa_family != AF_UNIX) {
        return false;
    }
    const char *path = unix_file(&at);
    return path != NULL && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode);
}

static const char *denied_advice(enum addr_kind kind)
{
    return kind == ADDR_UNIX || kind == ADDR_HYBRID
               ? "; this user may not make a socket in that directory"
               : "; a port below 1024 needs CAP_NET_BIND_SERVICE, which posternd's unit does not give: a "
                 "systemd "
                 "socket unit hands it over, with the listener's name as its FileDescriptorName=";
}

static const char *bind_advice(const struct addr *addr, int code)
{
    switch (code) {
    case -EADDRINUSE:
        if (sock_is_other_file(addr)) {
            return "; a file that is no socket is in its place: move that away, or give the listener another "
                   "path";
        }
        return addr->kind == ADDR_VSOCK
                   ? "; another program holds that port: `posternctl doctor` looks for it"
                   : "; another program holds it: `posternctl doctor` names it";
    case -EADDRNOTAVAIL:
        return addr->kind == ADDR_VSOCK ? "; this machine does not have that CID: use vsock://any:PORT"
                                        : "; this machine does not have that address";
    case -EACCES:
    case -EPERM:
        return denied_advice(addr->kind);
    case -EAFNOSUPPORT:
        return "; this kernel has no support for that family, or a seccomp filter hides it";
    case -ENOENT:
        return "; create the directory first";
    default:
        return "";
    }
}

static int fail_listen(struct error *err, int fd, int code, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    if (fd >= 0) {
        close(fd);
    }
    return error_set(err, code, "cannot listen at %s: %s%s", addr_format(addr, text), error_words(code),
                     bind_advice(addr, code));
}

int sock_listen(const struct addr *addr, const struct sock_options *options, struct error *err)
{
    struct sockaddr_any at;
    int rv = addr_to_sockaddr(addr, true, &at);
    if (rv != 0) {
        return fail_listen(err, -1, rv, addr);
    }
    int family = at.u.base.sa_family;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail_listen(err, -1, -errno, addr);
    }
    set_stream_options(fd, family, options);
    if (family == AF_UNIX) {
        rv = bind_unix(fd, &at, options->unix_mode);
    } else {
        set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (family == AF_INET6) {
            set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        }
        rv = bind(fd, &at.u.base, at.length) == 0 ? 0 : -errno;
    }
    if (rv == 0 && listen(fd, BACKLOG) != 0) {
        rv = -errno;
    }
    return rv == 0 ? fd : fail_listen(err, fd, rv, addr);
}

void sock_adopt_listener(int fd, const struct sock_options *options)
{
    int family = AF_UNSPEC;
    socklen_t length = sizeof family;
    (void)getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
    set_stream_options(fd, family, options);
}

int sock_accept(int listener, struct sockaddr_any *ret_peer)
{
    ret_peer->length = sizeof ret_peer->u;
    int fd = accept4(listener, &ret_peer->u.base, &ret_peer->length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd >= 0 ? fd : -errno;
}

static void set_vsock_connect_timeout(int fd, uint64_t ms)
{
    struct timeval limit = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    if (ms > 0) {
        (void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof limit);
    }
}

static int connect_vsock(int fd, const struct sockaddr_any *to)
{
    struct sockaddr_vm vm;
    if (connect(fd, &to->u.base, to->length) == 0) {
        return 0;
    }
    if (errno != ENODEV) {
        return -errno;
    }
    memcpy(&vm, &to->u.storage, sizeof vm);
    vm.svm_flags |= VMADDR_FLAG_TO_HOST;
    return connect(fd, (struct sockaddr *)&vm, sizeof vm) == 0 ? 0 : -errno;
}

int sock_connect(const struct sockaddr_any *to, const struct sock_options *options, bool *ret_pending)
{
    int family = to->u.base.sa_family;
    int rv;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    set_stream_options(fd, family, options);
    if (family == AF_VSOCK) {
        set_vsock_connect_timeout(fd, options->connect_timeout_ms);
        rv = connect_vsock(fd, to);
    } else {
        rv = connect(fd, &to->u.base, to->length) == 0 ? 0 : -errno;
    }
    *ret_pending = rv == -EINPROGRESS;
    if (rv != 0 && !*ret_pending) {
        close(fd);
        return rv;
    }
    return fd;
}

int sock_outcome(int fd)
{
    int code = 0;
    socklen_t length = sizeof code;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0) {
        return -errno;
    }
    return -code;
}

void sock_set_abort(int fd)
{
    struct linger cut = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &cut, sizeof cut);
}

const char *sock_connect_words(enum addr_kind kind, int code)
{
    if (kind == ADDR_VSOCK) {
        switch (code) {
        case -ECONNRESET:
            return "nothing listens at that port, or its backlog is full (vsock answers a reset for both)";
        case -ENODEV:
            return "no transport reaches that CID: is the enclave running, and the vsock module loaded?";
        case -ETIMEDOUT:
            return "the CID did not answer: the enclave is gone or hangs";
        default:
            break;
        }
    }
    if ((kind == ADDR_UNIX || kind == ADDR_HYBRID) && code == -EPROTO) {
        return "what listens there does not answer CONNECT as the vsock socket of a Firecracker or Cloud "
               "Hypervisor "
               "guest does (that of its API is another)";
    }
    if (kind == ADDR_UNIX && code == -EAGAIN) {
        return "the socket's backlog is full";
    }
    return error_words(code);
}
