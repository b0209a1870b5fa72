/* Bringing `lo` up, by the ioctls that work on every kernel and need no netlink. */
#include "init/loopback.h"

#include <errno.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int raise_flags(int fd, struct error *err)
{
    struct ifreq request = {.ifr_name = "lo"};

    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
        return error_errno(err, -errno, "cannot ask for the state of the interface lo");
    }
    if (request.ifr_flags & IFF_UP) {
        return 0;
    }
    request.ifr_flags |= IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) {
        return error_errno(err, -errno, "cannot bring the interface lo up");
    }
    return 0;
}

int loopback_up(struct error *err)
{
    int fd, code;

    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_errno(err, -errno, "cannot open a socket to bring the interface lo up");
    }
    code = raise_flags(fd, err);
    close(fd);
    return code;
}
