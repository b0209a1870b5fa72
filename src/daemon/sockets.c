/* The listening sockets of a configuration: see sockets.h. */
#include "daemon/sockets.h"

#include "net/sock.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX (ADDR_HOST_MAX + 16)

/* The path of the file that this process made; NULL: none. */
static const char *own_file(const struct bound_socket *socket, char buffer[FILE_MAX])
{
    if (socket->inherited || socket->at.host[0] == '@') {
        return NULL;
    }
    switch (socket->at.kind) {
    case ADDR_UNIX:
        return socket->at.host;
    case ADDR_HYBRID:
        snprintf(buffer, FILE_MAX, "%s_%u", socket->at.host, socket->at.port);
        return buffer;
    default:
        return NULL;
    }
}

/* Just bound. */
static void note_file(struct bound_socket *socket)
{
    char buffer[FILE_MAX];
    const char *path = own_file(socket, buffer);
    socket->file = path != NULL ? sock_file_at(path) : (struct sock_file){.number = 0};
}

int bound_socket_open(struct bound_socket *socket, const char *name, const struct addr *at, unsigned mode,
                      const struct config *config, struct activation *activation, struct error *err)
{
    struct sock_options options = {.vsock_buffer_size = config->vsock.buffer_size, .unix_mode = mode};
    socket->at = *at;
    socket->kept = false;
    socket->fd = activation_claim(activation, name);
    socket->inherited = socket->fd >= 0;
    if (socket->inherited) {
        sock_adopt_listener(socket->fd, &options);
    } else {
        socket->fd = sock_listen(at, &options, err);
    }
    if (socket->fd < 0) {
        return socket->fd;
    }
    note_file(socket);
    return 0;
}

/* With port 0 an address is the same, and the port is another's. */
static bool is_its_own(const struct bound_socket *socket, const struct config_listener *listener)
{
    bool any_port = socket->at.kind == ADDR_TCP && socket->at.port == 0;
    return addr_equal(&socket->at, &listener->listen) &&
           (!any_port || strcmp(socket->name, listener->name) == 0);
}

static const struct bound_socket *find_own(const struct socket_set *before,
                                           const struct config_listener *listener)
{
    for (unsigned i = 0; i < before->count; i++) {
        if (is_its_own(&before->sockets[i], listener)) {
            return &before->sockets[i];
        }
    }
    return NULL;
}

static int prepare_one(struct bound_socket *socket, const struct config_listener *listener,
                       const struct socket_set *before, const struct config *config,
                       struct activation *activation, struct error *err)
{
    const struct bound_socket *old = find_own(before, listener);
    int rv = 0;
    if (old != NULL) {
        *socket = *old;
        socket->kept = true;
    } else {
        rv = bound_socket_open(socket, listener->name, &listener->listen, listener->mode, config, activation,
                               err);
    }
    snprintf(socket->name, sizeof socket->name, "%s", listener->name);
    if (rv != 0) {
        error_prefix(err, "listener %s", listener->name);
    }
    return rv;
}

int socket_set_prepare(struct socket_set *set, const struct socket_set *before, const struct config *config,
                       struct activation *activation, struct error *err)
{
    set->count = 0;
    set->sockets = calloc(config->listener_count + 1, sizeof *set->sockets);
    if (set->sockets == NULL) {
        return error_errno(err, -ENOMEM, "cannot open %u listeners", config->listener_count);
    }
    for (unsigned i = 0; i < config->listener_count; i++) {
        int rv = prepare_one(&set->sockets[i], &config->listeners[i], before, config, activation, err);
        if (rv != 0) {
            socket_set_abandon(set);
            return rv;
        }
        set->count++;
    }
    return 0;
}

void socket_set_abandon(struct socket_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (!set->sockets[i].kept) {
            close(set->sockets[i].fd);
            bound_socket_unlink(&set->sockets[i]);
        }
    }
    socket_set_release(set);
}

const struct bound_socket *socket_set_find(const struct socket_set *set, int fd)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (set->sockets[i].fd == fd) {
            return &set->sockets[i];
        }
    }
    return NULL;
}

void socket_set_release(struct socket_set *set)
{
    free(set->sockets);
    set->sockets = NULL;
    set->count = 0;
}

int bound_socket_set_mode(const struct bound_socket *socket, unsigned mode)
{
    char buffer[FILE_MAX];
    const char *path = own_file(socket, buffer);
    return path == NULL ? 0 : sock_file_set_mode(path, &socket->file, mode);
}

int bound_socket_set_group(const struct bound_socket *socket, gid_t group)
{
    char buffer[FILE_MAX];
    const char *path = own_file(socket, buffer);
    return path == NULL ? 0 : sock_file_set_group(path, &socket->file, group);
}

void bound_socket_tune(const struct bound_socket *socket, const struct config *config)
{
    const struct sock_options options = {.vsock_buffer_size = config->vsock.buffer_size};
    sock_adopt_listener(socket->fd, &options);
}

void bound_socket_unlink(const struct bound_socket *socket)
{
    char buffer[FILE_MAX];
    const char *path = own_file(socket, buffer);
    if (path != NULL) {
        sock_file_remove(path, &socket->file);
    }
}
