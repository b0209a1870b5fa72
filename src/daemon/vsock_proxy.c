/* The drop-in for AWS's vsock-proxy: from its command line to a configuration of one route. */
#include "daemon/vsock_proxy.h"

#include "base/text.h"
#include "daemon/server.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SECOND UINT64_C(1000)
#define DAY    (SECOND * 3600 * 24)

/* ---- Messages ---- */

/* A fatal error as that tool ends with it. Returns the exit code. */
static int fail(const char *message)
{
    struct text line = TEXT_INIT;
    text_add(&line, "Error: \"");
    text_add_json(&line, message, strlen(message));
    text_add(&line, "\"\n");
    fputs(line.failed ? "Error: \"out of memory\"\n" : text_string(&line), stderr);
    text_release(&line);
    return EXIT_FAILURE;
}

/* The engine sends to posternctl doctor, which looks at postern.yaml and knows nothing of this program's listener. */
static void set_reason(const struct addr *listen, const char *reason, struct error *err)
{
    static const char held[] = "; another program holds ";
    const char *advice = strstr(reason, held);
    bool is_file = listen->kind != ADDR_VSOCK && listen->kind != ADDR_TCP;
    if (advice == NULL) {
        error_set(err, -EIO, "%s", reason);
        return;
    }
    error_set(err, -EIO,
              "%.*s%sthat %s, mostly another vsock-proxy: `ss %s` shows it; end that, or give another %s",
              (int)(advice - reason), reason, held, is_file ? "path" : "port",
              is_file                      ? "-lxp"
              : listen->kind == ADDR_VSOCK ? "-lp --vsock"
                                           : "-lntp",
              listen->kind == ADDR_VSOCK ? "local_port" : "address to --listen");
}

void vsock_proxy_start_words(const struct addr *listen, const char *text, struct error *err)
{
    static const char words[] = "Could not listen for connections: Could not bind to";
    char address[ADDR_TEXT_MAX];
    char engine_words[ADDR_TEXT_MAX + 32];
    addr_format(listen, address);
    snprintf(engine_words, sizeof engine_words, "cannot listen at %s: ", address);
    const char *found = strstr(text, engine_words);
    const char *reason = found != NULL ? found + strlen(engine_words) : NULL;
    if (reason == NULL) {
        error_set(err, -EIO, "Could not create proxy: %s", text);
    } else if (listen->kind == ADDR_VSOCK) {
        set_reason(listen, reason, err);
        error_prefix(err, "%s cid: %u port: %u", words, listen->cid, listen->port);
    } else {
        set_reason(listen, reason, err);
        error_prefix(err, "%s %s", words, address);
    }
}

/* ---- RUST_LOG ---- */

/* A level's name and no more; -1: none. `off` is as quiet as this program gets. */
static int level_of(const char *word, size_t length)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"off", LOG_LEVEL_ERROR}, {"error", LOG_LEVEL_ERROR}, {"warn", LOG_LEVEL_WARN},
        {"info", LOG_LEVEL_INFO}, {"debug", LOG_LEVEL_DEBUG}, {"trace", LOG_LEVEL_DEBUG},
    };
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strlen(levels[i].name) == length && strncasecmp(word, levels[i].name, length) == 0) {
            return (int)levels[i].level;
        }
    }
    return -1;
}

static bool is_target(const char *word, size_t length)
{
    static const char target[] = "vsock_proxy";
    size_t head = sizeof target - 1;
    return length >= head && strncmp(word, target, head) == 0 && (length == head || word[head] == ':');
}

/* One of LEVEL, vsock_proxy, vsock_proxy=LEVEL; other programs' modules say nothing here. */
static void read_directive(const char *word, size_t length, int *general, int *own)
{
    const char *equals = memchr(word, '=', length);
    if (equals != NULL) {
        size_t head = (size_t)(equals - word);
        if (is_target(word, head)) {
            *own = level_of(equals + 1, length - head - 1);
        }
    } else if (is_target(word, length)) {
        *own = LOG_LEVEL_DEBUG;
    } else if (level_of(word, length) >= 0) {
        *general = level_of(word, length);
    }
}

enum log_level vsock_proxy_log_level(const char *rust_log)
{
    int general = LOG_LEVEL_INFO;
    int own = -1;
    const char *rest = rust_log != NULL ? rust_log : "";
    const char *end = rest + strcspn(rest, "/"); /* a filter of texts may follow */
    while (rest < end) {
        size_t length = strcspn(rest, ",/");
        read_directive(rest, length, &general, &own);
        rest += length < (size_t)(end - rest) ? length + 1 : length;
    }
    return (enum log_level)(own >= 0 ? own : general);
}

/* ---- The server ---- */

static bool all_digits(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

int vsock_proxy_server(const char *host, uint16_t port, struct addr *ret, struct error *err)
{
    struct text text = TEXT_INIT;
    bool ipv6 = strchr(host, ':') != NULL;
    text_addf(&text, ipv6 ? "tcp://[%s]:%u" : "tcp://%s:%u", host, port);
    int rc = text.failed ? error_errno(err, -ENOMEM, "Could not parse domain name: %s", host)
                         : addr_parse(text_string(&text), ret, err);
    text_release(&text);
    if (rc == -EINVAL && all_digits(host)) {
        return error_set(
            err, rc,
            "Could not parse domain name: %s looks like a CID: remote_addr is the TCP server to reach; "
            "the enclave connects to CID 3 at local_port",
            host);
    }
    if (rc == -EINVAL) {
        error_prefix(err, "Could not parse domain name");
    }
    return rc;
}

static void keep_ip(const struct sockaddr *address, struct allow_ips *ips)
{
    if (ips->count == ALLOW_IPS_MAX) {
        return;
    }
    struct allow_ip *ip = &ips->list[ips->count];
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        memcpy(ip->bytes, &in.sin_addr, sizeof in.sin_addr);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, address, sizeof in6);
        memcpy(ip->bytes, &in6.sin6_addr, sizeof in6.sin6_addr);
    } else {
        return;
    }
    ip->family = address->sa_family;
    ips->count++;
}

int vsock_proxy_lookup(void *data UNUSED, const char *host, struct allow_ips *ret, struct error *err)
{
    /* Only what is a host to the engine as well: getaddrinfo() would take 16 for 0.0.0.16. */
    struct addr server;
    int rc = vsock_proxy_server(host, 1, &server, err);
    if (rc != 0) {
        return rc;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    rc = getaddrinfo(server.host, NULL, &hints, &found);
    if (rc != 0) {
        return error_set(err, -ENOENT,
                         "DNS lookup failed!: %s: %s; check the name, and the servers in /etc/resolv.conf",
                         host, rc == EAI_SYSTEM ? error_words(-errno) : gai_strerror(rc));
    }
    ret->count = 0;
    for (const struct addrinfo *info = found; info != NULL; info = info->ai_next) {
        keep_ip(info->ai_addr, ret);
    }
    freeaddrinfo(found);
    return 0;
}

/* ---- The configuration ---- */

static int listen_address(const struct vsock_args *args, struct addr *ret, struct error *err)
{
    if (args->listen == NULL) {
        *ret = (struct addr){.kind = ADDR_VSOCK, .cid = ADDR_CID_PARENT, .port = args->local_port};
        return 0;
    }
    int rc = addr_parse_listen(args->listen, ret, err);
    if (rc == 0 && ret->kind == ADDR_VSOCK && ret->cid_by_name) {
        rc = error_set(err, -EINVAL,
                       "%s: there are no enclaves by name here; expected a number, `any` or `parent`",
                       args->listen);
    }
    if (rc == 0 && ret->kind == ADDR_TCP && !ret->literal) {
        rc = error_set(err, -EINVAL, "%s: expected an IP address to listen on, such as 127.0.0.1",
                       args->listen);
    }
    if (rc != 0) {
        error_prefix(err, "Could not listen for connections");
    }
    return rc;
}

/*
 * Where streams lead. A server named by the very string that the list holds is that server, however its
 * addresses change. A name that was let in only because it led to the same address as an entry
 * is not: it may lead elsewhere tomorrow, to where the list never allowed. So the entry is followed.
 */
static int destination(const struct vsock_args *args, const struct allow_match *match, struct addr *ret,
                       struct error *err)
{
    int rc = vsock_proxy_server(args->remote_addr, args->remote_port, ret, err);
    if (rc != 0 || match->by_name || ret->literal) {
        return rc;
    }
    return vsock_proxy_server(match->entry->address, args->remote_port, ret, err);
}

static void fill_listener(struct config_listener *listener)
{
    listener->name = "vsock-proxy";
    listener->route = 0;
    listener->allow_any = true;
    listener->peer = CONFIG_NOBODY;
    listener->mode = 0600; /* of --listen unix://: there is no list of callers, so the file is the lock */
}

/*
 * The original has no timeouts at all. A destination that does not answer is given up, since the caller
 * learns nothing by waiting; but an open stream that is idle for days is cut by nobody: clients that keep
 * connections rely on it.
 */
static void fill_route(const struct config *config, struct config_route *route)
{
    config_route_init(route);
    route->name = "vsock-proxy";
    route->to_kind = CONFIG_TO_ADDRESS;
    route->allow_private = true; /* the operator named the server, and VPC endpoints have private addresses */
    route->max_streams = config->max_streams;
    route->connect_timeout_ms = 30 * SECOND;
    route->first_byte_timeout_ms = 30 * DAY;
    route->idle_timeout_ms = 30 * DAY;
}

/* As many threads as -w says, but more than there are CPUs would only cost. */
static unsigned worker_count(uint64_t workers)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t most = cpus > 0 ? (uint64_t)cpus : 1;
    return (unsigned)(workers < most ? workers : most);
}

static int fill_config(struct config *config, const struct vsock_args *args, const struct allow_match *match,
                       struct error *err)
{
    config->listeners = config_alloc(config, 1, sizeof *config->listeners);
    config->routes = config_alloc(config, 1, sizeof *config->routes);
    if (config->listeners == NULL || config->routes == NULL) {
        return error_errno(err, -ENOMEM, "Could not create proxy");
    }
    fill_listener(&config->listeners[0]);
    fill_route(config, &config->routes[0]);
    config->listener_count = 1;
    config->route_count = 1;
    config->routes[0].family = args->family;
    config->workers = worker_count(args->workers);
    config->log_level = vsock_proxy_log_level(getenv("RUST_LOG"));
    /* Several of these run side by side: they would fight over one admin socket, or one port for metrics. */
    config->admin.kind = ADDR_NONE;
    config->metrics.kind = ADDR_NONE;
    int rc = destination(args, match, &config->routes[0].to, err);
    return rc != 0 ? rc : listen_address(args, &config->listeners[0].listen, err);
}

struct config *vsock_proxy_config(const struct vsock_args *args, const struct allow_match *match,
                                  struct error *err)
{
    struct config *config = config_new("vsock-proxy");
    if (config == NULL) {
        (void)error_errno(err, -ENOMEM, "Could not create proxy");
        return NULL;
    }
    if (fill_config(config, args, match, err) != 0) {
        config_unref(config);
        return NULL;
    }
    return config;
}

/* ---- The start ---- */

static void log_match(const struct allow_match *match)
{
    struct log_line line;
    if (match->by_name) {
        log_begin(&line, LOG_LEVEL_INFO, "Matched with host name");
    } else {
        log_begin(&line, LOG_LEVEL_WARN, "Matched with host IP: streams follow the entry");
    }
    log_str(&line, "destination", match->entry->address);
    log_u64(&line, "port", match->entry->port);
    log_end(&line);
}

/* NULL: `err` says why. */
static struct config *check_and_configure(const struct vsock_args *args, struct error *err)
{
    struct config *config = NULL;
    struct allowlist list;
    struct allow_match match;
    struct allow_request request = {
        .host = args->remote_addr,
        .port = args->remote_port,
        .family = args->family,
        .lookup = vsock_proxy_lookup,
    };
    log_event(LOG_LEVEL_INFO, "Checking allowlist configuration", "%s", args->config_file);
    int rc = allowlist_load(args->config_file, &list, err);
    if (rc == 0) {
        rc = allowlist_check(&list, &request, &match, err);
    }
    if (rc != 0) {
        error_prefix(err, "Error at checking the allowlist");
    } else {
        log_match(&match);
        config = vsock_proxy_config(args, &match, err);
    }
    allowlist_release(&list);
    return config;
}

/* What help, version and usage errors say. Returns the exit code. */
static int tell(struct text *out, int code)
{
    FILE *stream = code == 0 ? stdout : stderr;
    if (out->failed || fputs(text_string(out), stream) == EOF || fflush(stream) != 0) {
        return EXIT_FAILURE;
    }
    return code;
}

/* Where this process listens: the engine's reports carry no argument, and there is one listener. */
static struct addr listening_at;

static void on_started(void)
{
    char address[ADDR_TEXT_MAX];
    struct log_line line;
    log_begin(&line, LOG_LEVEL_INFO, "Proxy is now in listening state");
    log_str(&line, "listener", addr_format(&listening_at, address));
    log_end(&line);
}

static void on_start_failed(const char *text)
{
    struct error err = ERROR_INIT;
    vsock_proxy_start_words(&listening_at, text, &err);
    (void)fail(err.text);
}

static int run(struct vsock_args *args)
{
    struct error err = ERROR_INIT;
    struct server_options options = {.started = on_started, .start_failed = on_start_failed};
    log_set(vsock_proxy_log_level(getenv("RUST_LOG")), LOG_FORMAT_AUTO);
    if (vsock_args_check(args, &err) != 0) {
        return fail(err.text);
    }
    options.config = check_and_configure(args, &err);
    if (options.config == NULL) {
        return fail(err.text);
    }
    listening_at = options.config->listeners[0].listen;
    return server_run(&options);
}

int vsock_proxy_main(int argc, char **argv)
{
    struct vsock_args args;
    struct text out = TEXT_INIT;
    int code = vsock_args_parse(argc, argv, &args, &out);
    if (code != VSOCK_ARGS_RUN) {
        code = tell(&out, code);
    }
    text_release(&out);
    return code != VSOCK_ARGS_RUN ? code : run(&args);
}
