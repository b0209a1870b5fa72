/*
 * Preloaded into the daemon: a caller at 127.0.0.N, N not 1, is told to come from the vsock CID N. So
 * policy by CID is tested where no vsock is, on a listener of `vsock://` whose socket, a TCP one, was
 * handed over as systemd hands over.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    int (*next)(int, struct sockaddr *, socklen_t *, int);
    *(void **)&next = dlsym(RTLD_NEXT, "accept4");
    int accepted = next(fd, address, length, flags);
    if (accepted < 0 || address == NULL || address->sa_family != AF_INET) {
        return accepted;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_port = ntohs(in->sin_port)};
    vm.svm_cid = ntohl(in->sin_addr.s_addr) & 0xff;
    if (vm.svm_cid != 1) {
        memcpy(address, &vm, sizeof vm);
        *length = sizeof vm;
    }
    return accepted;
}
