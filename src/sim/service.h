/*
 * Listeners of the simulator, with a thread for each connection, of which there is a bounded number: who comes beyond it waits.
 *
 * Lifetimes: a service is embedded in what it serves, and lives from sim_service_start() to sim_service_stop(), which returns when
 * its last connection is over.
 */
#ifndef POSTERN_SIM_SERVICE_H
#define POSTERN_SIM_SERVICE_H

#include "base/error.h"
#include "net/addr.h"
#include "sim/wire.h"
#include <pthread.h>

#define SIM_CONNECTIONS 128
#define SIM_TIMEOUT_MS  120000 /* for a peer that neither sends nor takes */

typedef void (*sim_serve)(void *arg, struct sim_wire *wire);

struct sim_service {
    char address[ADDR_TEXT_MAX]; /* where it listens; with the port that was found, if any was asked for */

    /* Private. */
    int listener, stop;
    SSL_CTX *tls; /* not owned */
    sim_serve serve;
    void *arg;
    pthread_t acceptor;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned connections;
};

/* `stop` is readable once everything is to end. `tls` may be NULL. 0 or a negative errno value. */
int sim_service_start(struct sim_service *service, const char *address, int stop, SSL_CTX *tls,
                      sim_serve serve, void *arg, struct error *err) MUST_CHECK;

/* After `stop` has become readable. */
void sim_service_stop(struct sim_service *service);

#endif
