/* Listeners and their threads: see service.h. */
#include "sim/service.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a connection's thread is started with; it frees it. */
struct visit {
    struct sim_service *service;
    int fd;
};

static void leave(struct sim_service *service)
{
    pthread_mutex_lock(&service->lock);
    service->connections--;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
}

static void *visit_thread(void *arg)
{
    struct visit *visit = arg;
    struct sim_service *service = visit->service;
    struct sim_wire wire;

    if (sim_wire_open(&wire, visit->fd, service->stop, SIM_TIMEOUT_MS, service->tls) == 0) {
        service->serve(service->arg, &wire);
    }
    sim_wire_close(&wire);
    free(visit);
    OPENSSL_thread_stop();
    leave(service);
    return NULL;
}

/* The threads are not joined: stop() counts them. */
static bool start_visit(struct visit *visit)
{
    pthread_attr_t attributes;
    pthread_t thread;

    if (pthread_attr_init(&attributes) != 0) {
        return false;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool started = pthread_create(&thread, &attributes, visit_thread, visit) == 0;
    pthread_attr_destroy(&attributes);
    return started;
}

static void take(struct sim_service *service, int fd)
{
    struct visit *visit = malloc(sizeof *visit);

    pthread_mutex_lock(&service->lock);
    while (service->connections == SIM_CONNECTIONS) {
        pthread_cond_wait(&service->changed, &service->lock);
    }
    service->connections++;
    pthread_mutex_unlock(&service->lock);
    if (visit) {
        *visit = (struct visit){.service = service, .fd = fd};
    }
    if (!visit || !start_visit(visit)) {
        free(visit);
        close(fd);
        leave(service);
    }
}

static void *accept_all(void *arg)
{
    struct sim_service *service = arg;
    struct pollfd polled[2] = {{.fd = service->listener, .events = POLLIN},
                               {.fd = service->stop, .events = POLLIN}};
    struct sockaddr_any peer;

    while (poll(polled, 2, -1) >= 0 || errno == EINTR) {
        if (polled[1].revents != 0) {
            break;
        }
        int fd = sock_accept(service->listener, &peer);
        if (fd >= 0) {
            take(service, fd);
        } else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
            (void)poll(&polled[1], 1, 100); /* until some are closed */
        }
    }
    return NULL;
}

/* The address in the form it was asked for in, with the port that the kernel chose. */
static void tell_address(struct sim_service *service, const struct addr *addr)
{
    struct sockaddr_any bound = {.length = sizeof bound.u};
    struct addr found = *addr;

    if (addr->kind == ADDR_TCP && addr->port == 0 &&
        getsockname(service->listener, &bound.u.base, &bound.length) == 0) {
        char text[ADDR_TEXT_MAX];
        const char *port = strrchr(sockaddr_format(&bound, text), ':');
        found.port = port ? (uint32_t)strtoul(port + 1, NULL, 10) : 0;
    }
    addr_format(&found, service->address);
}

static int listen_at(struct sim_service *service, const char *address, struct error *err)
{
    struct addr addr;
    int rv = addr_parse_listen(address, &addr, err);

    if (rv != 0) {
        return rv;
    }
    service->listener = sock_listen(&addr, &(struct sock_options){.unix_mode = 0600}, err);
    if (service->listener < 0) {
        return service->listener;
    }
    tell_address(service, &addr);
    return 0;
}

int sim_service_start(struct sim_service *service, const char *address, int stop, SSL_CTX *tls,
                      sim_serve serve, void *arg, struct error *err)
{
    *service = (struct sim_service){.stop = stop, .tls = tls, .serve = serve, .arg = arg};
    int rv = listen_at(service, address, err);

    if (rv != 0) {
        return rv;
    }
    pthread_mutex_init(&service->lock, NULL);
    pthread_cond_init(&service->changed, NULL);
    rv = pthread_create(&service->acceptor, NULL, accept_all, service);
    if (rv != 0) {
        close(service->listener);
        return error_errno(err, -rv, "cannot serve %s", address);
    }
    return 0;
}

void sim_service_stop(struct sim_service *service)
{
    pthread_join(service->acceptor, NULL);
    pthread_mutex_lock(&service->lock);
    while (service->connections > 0) {
        pthread_cond_wait(&service->changed, &service->lock);
    }
    pthread_mutex_unlock(&service->lock);
    pthread_cond_destroy(&service->changed);
    pthread_mutex_destroy(&service->lock);
    close(service->listener);
    if (strncmp(service->address, "unix:///", 8) == 0) {
        unlink(service->address + 7);
    }
}
