/*
 * For AWS's vsock-proxy in the test VM, preloaded: it listens at CID 3, the parent's, and nowhere else. The VM has no CID but
 * its loopback's, so what is to be bound to 3 is bound to any. On a parent instance this is not used.
 */
#include <dlfcn.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <sys/socket.h>

#define PARENT_CID 3

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
    int (*next)(int, const struct sockaddr *, socklen_t);
    struct sockaddr_vm at;
    *(void **)&next = dlsym(RTLD_NEXT, "bind");
    if (address->sa_family != AF_VSOCK || size < sizeof at) {
        return next(fd, address, size);
    }
    memcpy(&at, address, sizeof at);
    if (at.svm_cid == PARENT_CID) {
        at.svm_cid = VMADDR_CID_ANY;
    }
    return next(fd, (struct sockaddr *)&at, sizeof at);
}
