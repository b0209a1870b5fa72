/*
 * c-ares on a libuv loop.
 *
 * Happy path: dns_channel_ask() has c-ares open a socket, which it tells on_socket(), which watches it with a
 * uv_poll_t. on_poll() and on_timer() let c-ares work, c-ares calls on_addrinfo(), and that the caller.
 * When the last question has ended, c-ares closes its sockets and the watchers go.
 *
 * Lifetimes: c-ares must not be destroyed while one of its functions is on the stack. So that is done in
 * settle() alone, after c-ares returned, and in dns_channel_close(), which no callback from inside may call.
 * The memory of the channel goes when its last handle, of the timer and of each watcher, is closed.
 */
#define CARES_NO_DEPRECATED /* ares_get_servers_ports(): its successor is not in 1.18 */
#include "net/resolve_channel.h"
#include <ares.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define TRIES            3 /* of each server; c-ares waits twice as long each time */
#define WAITS            ((1 << TRIES) - 1)
#define RESOLV_CONF      "/etc/resolv.conf"
#define CHECK_EVERY_MS   1000
#define TIMEOUT_LEAST_MS 10

/* One socket of c-ares'. */
struct socket_watch {
    uv_poll_t poll;
    struct dns_channel *channel;
    ares_socket_t fd;
    int events;
    LIST_ENTRY(socket_watch) link;
};

/* What tells one state of a file from another. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
};

struct dns_channel {
    uv_loop_t *loop;
    const struct resolver_options *options;
    ares_channel ares; /* NULL once destroyed */
    uv_timer_t timer;
    LIST_HEAD(, socket_watch) watches;
    unsigned handles;   /* open, or being closed */
    unsigned questions; /* outstanding */
    unsigned rejected;  /* times that a socket told that a server's machine takes no questions */
    bool retired;
    struct stamp stamp; /* of resolv.conf, before it was read */
    uint64_t checked_ms;
    void (*gone)(void *data);
    void *data;
};

/* ---- The end ---- */

static void release_handle(struct dns_channel *channel)
{
    if (--channel->handles > 0) {
        return;
    }
    channel->gone(channel->data);
    free(channel);
}

static void on_timer_closed(uv_handle_t *handle)
{
    release_handle(CONTAINER_OF((uv_timer_t *)handle, struct dns_channel, timer));
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct socket_watch *watch = CONTAINER_OF((uv_poll_t *)handle, struct socket_watch, poll);
    struct dns_channel *channel = watch->channel;
    free(watch);
    release_handle(channel);
}

static void destroy(struct dns_channel *channel)
{
    ares_channel ares = channel->ares;
    if (ares == NULL) {
        return;
    }
    channel->ares = NULL;
    ares_destroy(ares); /* ends the questions, closes the sockets and with them the watchers */
    uv_close((uv_handle_t *)&channel->timer, on_timer_closed);
}

/* ---- Letting c-ares work ---- */

static void on_timer(uv_timer_t *timer);

/* After every call into c-ares. */
static void settle(struct dns_channel *channel)
{
    struct timeval wait;

    if (channel->retired && channel->questions == 0) {
        destroy(channel);
        return;
    }
    if (ares_timeout(channel->ares, NULL, &wait) == NULL) {
        uv_timer_stop(&channel->timer);
        return;
    }
    uint64_t ms = (uint64_t)wait.tv_sec * 1000 + (uint64_t)(wait.tv_usec + 999) / 1000;
    uv_timer_start(&channel->timer, on_timer, ms > 0 ? ms : 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct dns_channel *channel = CONTAINER_OF(timer, struct dns_channel, timer);
    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    settle(channel);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct socket_watch *watch = CONTAINER_OF(poll, struct socket_watch, poll);
    struct dns_channel *channel = watch->channel;

    if (status < 0) { /* c-ares finds out what is wrong by trying */
        channel->rejected++;
        events = UV_READABLE | UV_WRITABLE;
    }
    ares_process_fd(channel->ares, events & UV_READABLE ? watch->fd : ARES_SOCKET_BAD,
                    events & UV_WRITABLE ? watch->fd : ARES_SOCKET_BAD);
    /* libuv stops a watcher that had an error. */
    if (status < 0 && !uv_is_closing((uv_handle_t *)poll)) {
        (void)uv_poll_start(poll, watch->events, on_poll);
    }
    settle(channel);
}

static struct socket_watch *find_watch(const struct dns_channel *channel, ares_socket_t fd)
{
    struct socket_watch *watch;
    LIST_FOREACH (watch, &channel->watches, link) {
        if (watch->fd == fd) {
            return watch;
        }
    }
    return NULL;
}

/* Without memory the socket is not watched, and the question ends by its timeout. */
static struct socket_watch *add_watch(struct dns_channel *channel, ares_socket_t fd)
{
    struct socket_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL) {
        return NULL;
    }
    if (uv_poll_init(channel->loop, &watch->poll, fd) != 0) {
        free(watch);
        return NULL;
    }
    watch->channel = channel;
    watch->fd = fd;
    LIST_INSERT_HEAD(&channel->watches, watch, link);
    channel->handles++;
    return watch;
}

/* c-ares opened a socket, wants other events of it, or is about to close it (none of both). */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
    struct dns_channel *channel = data;
    struct socket_watch *watch = find_watch(channel, fd);

    if (!readable && !writable) {
        if (watch == NULL) {
            return;
        }
        LIST_REMOVE(watch, link);
        uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
        return;
    }
    if (watch == NULL) {
        watch = add_watch(channel, fd);
    }
    if (watch == NULL) {
        return;
    }
    watch->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    (void)uv_poll_start(&watch->poll, watch->events, on_poll); /* else the question times out */
}

/* ---- Answers ---- */

static enum reason reason_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return REASON_NONE;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return REASON_DNS_NOT_FOUND;
    case ARES_ETIMEOUT:
        return REASON_DNS_TIMEOUT;
    default: /* ARES_ENOMEM among them */
        return REASON_DNS_FAILED;
    }
}

/* The next of the list that has the family, beginning with `node` itself. */
static const struct ares_addrinfo_node *of_family(const struct ares_addrinfo_node *node, int family)
{
    while (node != NULL && node->ai_family != family) {
        node = node->ai_next;
    }
    return node;
}

static void take_address(struct dns_channel_answer *answer, const struct ares_addrinfo_node *node)
{
    struct resolve_ip ip = {.is_ipv6 = node->ai_family == AF_INET6};
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    if (ip.is_ipv6) {
        memcpy(&in6, node->ai_addr, sizeof(in6));
        memcpy(ip.bytes, &in6.sin6_addr, 16);
    } else {
        memcpy(&in, node->ai_addr, sizeof(in));
        memcpy(ip.bytes, &in.sin_addr, 4);
    }
    for (unsigned i = 0; i < answer->count; i++) {
        const struct resolve_ip *other = &answer->ip[i];
        if (other->is_ipv6 == ip.is_ipv6 && memcmp(other->bytes, ip.bytes, sizeof(ip.bytes)) == 0) {
            return;
        }
    }
    answer->ip[answer->count++] = ip;
}

/* Families alternate, beginning with that of the first; so both are among what is kept of a long answer. */
static void take_addresses(struct dns_channel_answer *answer, const struct ares_addrinfo *info)
{
    int first = info->nodes != NULL ? info->nodes->ai_family : AF_INET;
    int family[2] = {first, first == AF_INET ? AF_INET6 : AF_INET};
    const struct ares_addrinfo_node *next[2] = {of_family(info->nodes, family[0]),
                                                of_family(info->nodes, family[1])};

    for (int turn = 0; (next[0] != NULL || next[1] != NULL) && answer->count < RESOLVE_ADDRS_MAX;
         turn = !turn) {
        if (next[turn] == NULL) {
            continue;
        }
        take_address(answer, next[turn]);
        next[turn] = of_family(next[turn]->ai_next, family[turn]);
    }
}

/* RFC 2181 section 8: a TTL with its highest bit set counts as 0. */
static uint32_t least_ttl(uint32_t least, int ttl)
{
    uint32_t value = ttl < 0 ? 0 : (uint32_t)ttl;
    return value < least ? value : least;
}

static void read_answer(const struct ares_addrinfo *info, struct dns_channel_answer *ret)
{
    ret->count = 0;
    ret->ttl_s = UINT32_MAX;
    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        ret->ttl_s = least_ttl(ret->ttl_s, node->ai_ttl);
    }
    for (const struct ares_addrinfo_cname *cname = info->cnames; cname != NULL; cname = cname->next) {
        ret->ttl_s = least_ttl(ret->ttl_s, cname->ttl);
    }
    take_addresses(ret, info);
}

static void on_addrinfo(void *data, int status, int timeouts, struct ares_addrinfo *info)
{
    struct dns_channel_question *question = data;
    struct dns_channel_answer answer = {.count = 0};
    enum reason why = reason_of(status);

    (void)timeouts;
    question->channel->questions--;
    if (why == REASON_DNS_TIMEOUT && question->channel->rejected != question->rejected_before) {
        why = REASON_DNS_FAILED; /* c-ares tries on all the same, and only tells of the last wait */
    }
    if (info != NULL && why == REASON_NONE) {
        read_answer(info, &answer);
    }
    if (info != NULL) {
        ares_freeaddrinfo(info);
    }
    if (why == REASON_NONE && answer.count == 0) {
        why = REASON_DNS_NOT_FOUND;
    }
    question->cb(question, why, why == REASON_NONE ? &answer : NULL);
}

void dns_channel_ask(struct dns_channel *channel, const char *name, struct dns_channel_question *question,
                     dns_channel_cb cb)
{
    const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    question->channel = channel;
    question->cb = cb;
    question->rejected_before = channel->rejected;
    channel->questions++;
    ares_getaddrinfo(channel->ares, name, NULL, &hints, on_addrinfo, question);
    settle(channel);
}

/* ---- Settings ---- */

static struct stamp stamp_of(const struct resolver_options *options)
{
    struct stat status;
    const char *path = options->resolv_conf != NULL ? options->resolv_conf : RESOLV_CONF;

    if (stat(path, &status) != 0) {
        return (struct stamp){.size = -1};
    }
    return (struct stamp){status.st_dev, status.st_ino, status.st_size, status.st_mtim};
}

bool dns_channel_outdated(struct dns_channel *channel)
{
    uint64_t now = uv_now(channel->loop);

    if (now - channel->checked_ms < CHECK_EVERY_MS) {
        return false;
    }
    channel->checked_ms = now;
    struct stamp stamp = stamp_of(channel->options);
    return stamp.device != channel->stamp.device || stamp.inode != channel->stamp.inode ||
           stamp.size != channel->stamp.size || stamp.modified.tv_sec != channel->stamp.modified.tv_sec ||
           stamp.modified.tv_nsec != channel->stamp.modified.tv_nsec;
}

/* c-ares waits for each try in turn, twice as long in each round: so long that all fit into the timeout. */
static int timeout_of_first_try(uint64_t whole_ms, unsigned servers)
{
    uint64_t ms = whole_ms / 10 * 9 / WAITS / (servers > 0 ? servers : 1);
    return ms < TIMEOUT_LEAST_MS ? TIMEOUT_LEAST_MS : ms > 60000 ? 60000 : (int)ms;
}

/* Returns a status of c-ares'. */
static int open_ares(struct dns_channel *channel, unsigned servers)
{
    const struct resolver_options *options = channel->options;
    struct ares_options settings = {
        .timeout = timeout_of_first_try(options->timeout_ms, servers),
        .tries = TRIES,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = channel,
        .resolvconf_path = (char *)options->resolv_conf, /* it is copied */
    };
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;

    if (options->resolv_conf != NULL) {
        mask |= ARES_OPT_RESOLVCONF;
    }
#ifdef ARES_OPT_QUERY_CACHE
    mask |= ARES_OPT_QUERY_CACHE; /* 0: off. It would answer beyond `max_ttl`. */
#endif
    int status = ares_init_options(&channel->ares, &settings, mask);
    if (status != ARES_SUCCESS) {
        channel->ares = NULL;
        return status;
    }
    if (options->servers != NULL) { /* c-ares takes an empty list for "as they are" */
        status = options->servers[0] != '\0' ? ares_set_servers_ports_csv(channel->ares, options->servers)
                                             : ARES_EBADSTR;
    }
    if (status != ARES_SUCCESS) {
        ares_destroy(channel->ares);
        channel->ares = NULL;
    }
    return status;
}

static int count_servers(ares_channel ares, unsigned *ret)
{
    struct ares_addr_port_node *servers = NULL;
    int status = ares_get_servers_ports(ares, &servers);

    *ret = 0;
    for (const struct ares_addr_port_node *server = servers; server != NULL; server = server->next) {
        ++*ret;
    }
    if (servers != NULL) {
        ares_free_data(servers);
    }
    return status;
}

/* The timeout depends on how many servers there are, and c-ares knows them only when it is open. */
static int open_with_timeout(struct dns_channel *channel)
{
    unsigned servers;
    int status = open_ares(channel, 1);

    if (status != ARES_SUCCESS) {
        return status;
    }
    status = count_servers(channel->ares, &servers);
    if (status == ARES_SUCCESS && servers == 1) {
        return ARES_SUCCESS;
    }
    ares_destroy(channel->ares);
    channel->ares = NULL;
    if (status != ARES_SUCCESS) {
        return status;
    }
    return servers > 0 ? open_ares(channel, servers) : ARES_EBADSTR;
}

/* ares_library_init() is not safe to call on several threads at once. */
static int library_status;

static void init_library(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int open_failed(const struct resolver_options *options, int status, struct error *err)
{
    if (status == ARES_ENOMEM) {
        return error_errno(err, -ENOMEM, "cannot start the resolver");
    }
    if (options->servers != NULL) {
        return error_set(err, -EINVAL, "cannot use the DNS servers \"%s\": %s; expected ADDRESS[:PORT],...",
                         options->servers, ares_strerror(status));
    }
    return error_set(err, -EIO, "cannot start the resolver from %s: %s",
                     options->resolv_conf != NULL ? options->resolv_conf : RESOLV_CONF,
                     ares_strerror(status));
}

int dns_channel_new(uv_loop_t *loop, const struct resolver_options *options, void (*gone)(void *data),
                    void *data, struct dns_channel **ret, struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct dns_channel *channel = calloc(1, sizeof(*channel));
    int status;

    if (channel == NULL) {
        return open_failed(options, ARES_ENOMEM, err);
    }
    channel->loop = loop;
    channel->options = options;
    channel->gone = gone;
    channel->data = data;
    channel->checked_ms = uv_now(loop);
    channel->stamp = stamp_of(options);
    LIST_INIT(&channel->watches);
    pthread_once(&once, init_library);
    status = library_status == ARES_SUCCESS ? open_with_timeout(channel) : library_status;
    if (status != ARES_SUCCESS) {
        free(channel);
        return open_failed(options, status, err);
    }
    uv_timer_init(loop, &channel->timer);
    channel->handles = 1;
    *ret = channel;
    return 0;
}

void dns_channel_retire(struct dns_channel *channel)
{
    channel->retired = true;
    if (channel->questions == 0) {
        destroy(channel);
    }
}

void dns_channel_close(struct dns_channel *channel)
{
    channel->retired = true;
    destroy(channel);
}
