/*
 * A daemon that is nothing but its view: control.h for the tests of those who look at the daemon. Included
 * by one source of a test program, it stands in for server.c.
 */
#ifndef FAKE_CONTROL_H
#define FAKE_CONTROL_H

#include "daemon/control.h"
#include "daemon/spool_keeper.h"
#include <stdio.h>
#include <string.h>

struct server {
    struct server_view view;
    struct counters counters;
    struct config config;
    struct config_enclave enclaves[2];
    struct config_listener listeners[3];
    struct config_permit permits[3];
    struct config_route routes[4];
    struct config_sni sni[2];
    struct config_sni to_by_sni[1];
    bool allow[2], session_allow[2];
    struct worker_view workers[2];
    struct resolver_stats dns[2];
    struct forward_stats upstreams[2];
    struct spool_keeper spool;
    const char *verdict; /* what a reload says */
    int reload_result;
    unsigned reloads;
    unsigned drains;
    uint64_t drain_deadline_ms;
};

static void fake_address(struct addr *addr, enum addr_kind kind, const char *host, uint32_t cid,
                         uint32_t port)
{
    *addr = (struct addr){.kind = kind, .cid = cid, .port = port};
    snprintf(addr->host, sizeof addr->host, "%s", host);
}

static void fake_config(struct server *server)
{
    server->sni[0] = (struct config_sni){.pattern = "kms.us-east-1.amazonaws.com"};
    server->sni[1] = (struct config_sni){.pattern = "*.example.com"};
    server->enclaves[0] =
        (struct config_enclave){.name = "payroll", .cid = 16, .max_streams = 512, .max_sessions = 8};
    server->enclaves[1] =
        (struct config_enclave){.name = "fraud", .cid = 17, .max_streams = 256, .max_sessions = 4};
    server->routes[0] =
        (struct config_route){.name = "kms", .max_streams = 1024, .sni = server->sni, .sni_count = 1};
    fake_address(&server->routes[0].to, ADDR_TCP, "kms.us-east-1.amazonaws.com", 0, 443);
    server->routes[1] = (struct config_route){.name = "any",
                                              .to_kind = CONFIG_TO_SNI,
                                              .port = 443,
                                              .max_streams = 10,
                                              .sni = server->sni,
                                              .sni_count = 2};
    server->to_by_sni[0] = (struct config_sni){.pattern = "pay.example.com"};
    fake_address(&server->to_by_sni[0].to, ADDR_VSOCK, "", 16, 8443);
    server->routes[2] = (struct config_route){.name = "public",
                                              .to_kind = CONFIG_TO_SNI_MAP,
                                              .max_streams = 10,
                                              .sni = server->to_by_sni,
                                              .sni_count = 1};
    server->routes[3] = (struct config_route){.name = "logs", .type = CONFIG_LOG, .max_streams = 10};
    server->allow[0] = server->session_allow[0] = server->session_allow[1] = true;
    server->listeners[0] = (struct config_listener){.name = "kms-raw",
                                                    .route = 0,
                                                    .allow = server->allow,
                                                    .peer = CONFIG_NOBODY};
    fake_address(&server->listeners[0].listen, ADDR_VSOCK, "", ADDR_CID_ANY, 8000);
    server->listeners[1] =
        (struct config_listener){.name = "dev", .route = 1, .allow_any = true, .peer = CONFIG_NOBODY};
    fake_address(&server->listeners[1].listen, ADDR_UNIX, "/run/postern/dev.sock", 0, 0);
    server->permits[0] = (struct config_permit){.enclave = 0, .route = 0, .name = "kms"};
    server->permits[1] = (struct config_permit){.enclave = 0, .route = 3, .name = "logs"};
    server->permits[2] = (struct config_permit){.enclave = 1, .route = 3, .name = "logs"};
    server->listeners[2] = (struct config_listener){.name = "session",
                                                    .protocol = CONFIG_FRAMED,
                                                    .route = CONFIG_NO_ROUTE,
                                                    .allow = server->session_allow,
                                                    .permits = server->permits,
                                                    .permit_count = 3,
                                                    .peer = CONFIG_NOBODY};
    fake_address(&server->listeners[2].listen, ADDR_VSOCK, "", ADDR_CID_ANY, 7000);
    server->config = (struct config){
        .file = "/etc/postern/postern.yaml",
        .max_streams = 4096,
        .body_memory = 268435456,
        .max_sessions = 100,
        .enclaves = server->enclaves,
        .enclave_count = 2,
        .listeners = server->listeners,
        .listener_count = 3,
        .routes = server->routes,
        .route_count = 4,
    };
    fake_address(&server->config.admin, ADDR_UNIX, "/run/postern/admin.sock", 0, 0);
}

/* Returns whether there was memory for it. Release with fake_release(). */
static bool fake_init(struct server *server)
{
    memset(server, 0, sizeof *server);
    fake_config(server);
    counters_init(&server->counters);
    server->workers[0] = (struct worker_view){.active = 2,
                                              .sessions = 1,
                                              .dns = &server->dns[0],
                                              .upstreams = &server->upstreams[0]};
    server->workers[1] = (struct worker_view){.active = 1,
                                              .busy_ms = 1500,
                                              .dns = &server->dns[1],
                                              .upstreams = &server->upstreams[1]};
    server->view = (struct server_view){
        .state = SERVER_READY,
        .config = &server->config,
        .counters = &server->counters,
        .workers = server->workers,
        .worker_count = 2,
        .uptime_s = 3600,
        .last_error = "",
    };
    return counters_route(&server->counters, "kms") != NULL &&
           counters_route(&server->counters, "any") != NULL &&
           counters_route(&server->counters, "public") != NULL &&
           counters_enclave(&server->counters, "") != NULL &&
           counters_enclave(&server->counters, "payroll") != NULL &&
           counters_enclave(&server->counters, "fraud") != NULL &&
           counters_listener(&server->counters, "kms-raw") != NULL &&
           counters_listener(&server->counters, "dev") != NULL &&
           counters_listener(&server->counters, "session") != NULL &&
           counters_route(&server->counters, "logs") != NULL;
}

static void fake_release(struct server *server)
{
    counters_release(&server->counters);
}

const struct server_view *server_view(struct server *server)
{
    return &server->view;
}

struct spool_keeper *server_spool(struct server *server)
{
    return &server->spool;
}

int server_reload(struct server *server, struct text *verdict)
{
    server->reloads++;
    text_add(verdict, server->verdict != NULL ? server->verdict : "");
    return server->reload_result;
}

void server_drain(struct server *server, uint64_t deadline_ms)
{
    server->drains++;
    server->drain_deadline_ms = deadline_ms;
    server->view.state = SERVER_DRAINING;
    server->view.drain_left_ms = deadline_ms != 0 ? deadline_ms : 60000;
}

#endif
