/* Who listens at an address, as /proc tells. */
#include "ctl/holder.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TCP_STATE_LISTEN  0x0a
#define UNIX_FLAG_LISTENS 0x10000u

/* An address as /proc/net/tcp and tcp6 show it: words of 32 bits, each in the host's order. */
struct bound {
    int family;
    struct in6_addr address; /* the first word only, for IPv4 */
    unsigned port;
};

static bool parse_bound(const char *text, struct bound *ret)
{
    size_t digits = strcspn(text, ":");
    if ((digits != 8 && digits != 32) || sscanf(text + digits, ":%x", &ret->port) != 1) {
        return false;
    }
    memset(&ret->address, 0, sizeof ret->address);
    for (size_t i = 0; i < digits / 8; i++) {
        if (sscanf(text + 8 * i, "%8x", &ret->address.s6_addr32[i]) != 1) {
            return false;
        }
    }
    ret->family = digits == 8 ? AF_INET : AF_INET6;
    return true;
}

static bool is_wildcard(const struct bound *bound)
{
    static const struct in6_addr any;
    return memcmp(&bound->address, &any, sizeof any) == 0;
}

static bool bound_of(const struct addr *addr, struct bound *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->port = addr->port;
    ret->family = strchr(addr->host, ':') != NULL ? AF_INET6 : AF_INET;
    return inet_pton(ret->family, addr->host, &ret->address) == 1;
}

/* Whether the one keeps the other from binding. An IPv6 wildcard takes IPv4 as well. */
static bool in_the_way(const struct bound *theirs, const struct bound *ours)
{
    if (theirs->port != ours->port) {
        return false;
    }
    if (theirs->family != ours->family) {
        return (theirs->family == AF_INET6 && is_wildcard(theirs)) ||
               (ours->family == AF_INET6 && is_wildcard(ours));
    }
    return is_wildcard(theirs) || is_wildcard(ours) ||
           memcmp(&theirs->address, &ours->address, sizeof ours->address) == 0;
}

static void tell_bound(const struct bound *bound, struct holder *ret)
{
    char text[INET6_ADDRSTRLEN];
    if (inet_ntop(bound->family, &bound->address, text, sizeof text) != NULL) {
        snprintf(ret->address, sizeof ret->address,
                 bound->family == AF_INET6 ? "tcp://[%s]:%u" : "tcp://%s:%u", text, bound->port);
    }
}

static FILE *open_in(const char *proc, const char *name)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", proc, name);
    return fopen(path, "re");
}

/* Returns the inode of a socket that listens where `ours` would, or 0. */
static unsigned long find_tcp(const char *proc, const char *name, const struct bound *ours,
                              struct holder *ret)
{
    char line[512], local[64];
    unsigned state;
    unsigned long inode, found = 0;
    struct bound theirs;
    FILE *file = open_in(proc, name);
    if (file == NULL) {
        return 0; /* a kernel without IPv6 */
    }
    while (found == 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, " %*[0-9]: %63s %*s %x %*s %*s %*s %*s %*s %lu", local, &state, &inode) == 3 &&
            state == TCP_STATE_LISTEN && parse_bound(local, &theirs) && in_the_way(&theirs, ours)) {
            found = inode;
            tell_bound(&theirs, ret);
        }
    }
    fclose(file);
    return found;
}

static unsigned long find_unix(const char *proc, const char *path)
{
    char line[512], theirs[256];
    unsigned flags;
    unsigned long inode, found = 0;
    FILE *file = open_in(proc, "net/unix");
    if (file == NULL) {
        return 0;
    }
    while (found == 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%*s %*s %*s %x %*s %*s %lu %255[^\n]", &flags, &inode, theirs) == 3 &&
            (flags & UNIX_FLAG_LISTENS) != 0 && strcmp(theirs, path) == 0) {
            found = inode;
        }
    }
    fclose(file);
    return found;
}

/* The socket's inode; 0: nobody listens there. */
static unsigned long find_inode(const char *proc, const struct addr *listen, struct holder *ret)
{
    char path[ADDR_HOST_MAX + 16];
    struct bound ours;
    if (listen->kind == ADDR_TCP && bound_of(listen, &ours)) {
        unsigned long inode = find_tcp(proc, "net/tcp", &ours, ret);
        return inode != 0 ? inode : find_tcp(proc, "net/tcp6", &ours, ret);
    }
    snprintf(path, sizeof path, listen->kind == ADDR_HYBRID ? "%s_%u" : "%s", listen->host, listen->port);
    snprintf(ret->address, sizeof ret->address, "unix://%.100s", path);
    return find_unix(proc, path);
}

static bool holds(const char *directory, const char *wanted)
{
    char link[PATH_MAX], target[64];
    bool found = false;
    DIR *fds = opendir(directory);
    if (fds == NULL) {
        return false; /* gone, or not ours to look at */
    }
    for (struct dirent *entry = readdir(fds); entry != NULL && !found; entry = readdir(fds)) {
        snprintf(link, sizeof link, "%s/%s", directory, entry->d_name);
        ssize_t length = readlink(link, target, sizeof target - 1);
        if (length > 0) {
            target[length] = '\0';
            found = strcmp(target, wanted) == 0;
        }
    }
    closedir(fds);
    return found;
}

static void read_command(const char *proc, int pid, struct holder *ret)
{
    char name[32];
    snprintf(name, sizeof name, "%d/comm", pid);
    FILE *file = open_in(proc, name);
    if (file == NULL) {
        return;
    }
    if (fgets(ret->command, sizeof ret->command, file) != NULL) {
        ret->command[strcspn(ret->command, "\n")] = '\0';
    }
    fclose(file);
}

static bool process_holds(const char *proc, int pid, const char *wanted)
{
    char directory[PATH_MAX];
    snprintf(directory, sizeof directory, "%s/%d/fd", proc, pid);
    return holds(directory, wanted);
}

/* Of several the first: systemd, if it handed the socket over. */
static int find_process(const char *proc, unsigned long inode, int preferred)
{
    char wanted[64];
    int pid = 0;
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    if (preferred > 0 && process_holds(proc, preferred, wanted)) {
        return preferred;
    }
    DIR *processes = opendir(proc);
    if (processes == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(processes); entry != NULL; entry = readdir(processes)) {
        int candidate = isdigit((unsigned char)entry->d_name[0]) ? atoi(entry->d_name) : 0;
        if (candidate > 0 && (pid == 0 || candidate < pid) && process_holds(proc, candidate, wanted)) {
            pid = candidate;
        }
    }
    closedir(processes);
    return pid;
}

int holder_find(const char *proc, const struct addr *listen, int preferred, struct holder *ret)
{
    *ret = (struct holder){.listening = false};
    if (listen->kind != ADDR_TCP && listen->kind != ADDR_UNIX && listen->kind != ADDR_HYBRID) {
        return -EAFNOSUPPORT;
    }
    unsigned long inode = find_inode(proc, listen, ret);
    if (inode == 0) {
        return 0;
    }
    ret->listening = true;
    ret->pid = find_process(proc, inode, preferred);
    if (ret->pid > 0) {
        read_command(proc, ret->pid, ret);
    }
    return 0;
}
