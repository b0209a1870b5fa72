/* Modules, heartbeat, end. */
#include "init/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

/* The kernel's PROC_PID_INIT_INO: the first namespace has this number on every machine. */
#define FIRST_PID_NAMESPACE 0xeffffffcu

bool machine_is_ours(void)
{
    struct stat there;

    return getpid() == 1 && stat("/proc/self/ns/pid", &there) == 0 && there.st_ino == FIRST_PID_NAMESPACE;
}

int machine_load_module(const char *path, struct error *err)
{
    int code = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_errno(err, -errno, "cannot open the kernel module %s", path);
    }
    if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST) {
        code = error_errno(err, -errno, "cannot load the kernel module %s", path);
    }
    close(fd);
    return code;
}

int machine_heartbeat_over(int fd, struct error *err)
{
    unsigned char byte = MACHINE_HEARTBEAT;
    ssize_t got;

    if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0) {
        return error_errno(err, -errno, "cannot send the heartbeat");
    }
    got = recv(fd, &byte, 1, 0);
    if (got < 0) {
        return error_errno(err, -errno, "no answer to the heartbeat");
    }
    if (got == 0 || byte != MACHINE_HEARTBEAT) {
        return error_set(err, -EPROTO, "the answer to the heartbeat is not one");
    }
    return 0;
}

static int set_timeouts(int fd, uint32_t timeout_ms)
{
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

    if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &timeout, sizeof timeout) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0) {
        return -errno;
    }
    return 0;
}

int machine_heartbeat(uint32_t timeout_ms, struct error *err)
{
    struct sockaddr_vm to = {.svm_family = AF_VSOCK,
                             .svm_cid = MACHINE_HEARTBEAT_CID,
                             .svm_port = MACHINE_HEARTBEAT_PORT};
    int code, fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        return error_errno(err, -errno, "no vsock for the heartbeat");
    }
    code = set_timeouts(fd, timeout_ms);
    if (code < 0) {
        error_errno(err, code, "cannot limit the heartbeat's time");
    } else if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        code = error_errno(err, -errno, "cannot connect to vsock://%u:%u for the heartbeat",
                           MACHINE_HEARTBEAT_CID, MACHINE_HEARTBEAT_PORT);
    } else {
        code = machine_heartbeat_over(fd, err);
    }
    close(fd);
    return code;
}

int machine_end(bool power_off, struct error *err)
{
    sync();
    reboot(power_off ? RB_POWER_OFF : RB_AUTOBOOT);
    return error_errno(err, -errno, "cannot end the machine");
}
