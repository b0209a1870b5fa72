/* The proxy's connections and their threads: see proxy.h. */
#include "kms/proxy.h"

#include "base/units.h"
#include "client/clock.h"
#include "kms/proxy_private.h"
#include "net/sock.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of each thread: TLS and names to be looked up are what takes most of it. Only what is used is memory. */
#define STACK_SIZE ((size_t)512 * 1024)

#define PAUSE_MS 100 /* while descriptors, threads or memory are not to be had */

void kms_proxy_options_init(struct kms_proxy_options *options)
{
    *options = (struct kms_proxy_options){
        .connections = KMS_PROXY_CONNECTIONS,
        .idle_ms = 300000,
        .request_ms = 30000,
        .drain_ms = 30000,
        .head = 32768,
        .body = 1024 * 1024,
        .memory = 32 * 1024 * 1024,
    };
}

/* ---- The proxy ---- */

/* One method, and one content type. The last one is none that a web page could make a browser send without being asked. */
static int set_rules(struct http_rules *rules, const struct kms_proxy_options *options, struct error *err)
{
    http_rules_init(rules);
    rules->limits.head.bytes = options->head;
    rules->limits.body = options->body;
    rules->forms = HTTP_FORM_ORIGIN;
    rules->policy.query = HTTP_QUERY_NONE;
    int r = http_policy_add_method(&rules->policy, "POST", err);
    return r == 0 ? http_policy_add_type(&rules->policy, "application/x-amz-json-1.1", err) : r;
}

int kms_proxy_init(struct kms_proxy *proxy, struct postern_kms *kms, const struct kms_proxy_options *options,
                   struct error *err)
{
    *proxy = (struct kms_proxy){.kms = kms, .options = *options, .wake_fd = -1};
    (void)pthread_mutex_init(&proxy->lock, NULL); /* cannot fail with these attributes */
    LIST_INIT(&proxy->guests);
    int r = set_rules(&proxy->rules, options, err);
    if (r != 0) {
        return r;
    }
    proxy->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return proxy->wake_fd >= 0 ? 0 : error_errno(err, -errno, "cannot make a descriptor to be woken by");
}

void kms_proxy_release(struct kms_proxy *proxy)
{
    if (proxy->wake_fd >= 0) {
        close(proxy->wake_fd);
    }
    http_rules_release(&proxy->rules);
    (void)pthread_mutex_destroy(&proxy->lock);
}

void kms_proxy_wake(struct kms_proxy *proxy)
{
    (void)eventfd_write(proxy->wake_fd, 1);
}

/* ---- Connections ---- */

static void *guest_thread(void *data)
{
    struct proxy_guest *guest = data;
    struct kms_proxy *proxy = guest->proxy;

    proxy_guest_run(guest);
    /* The client is told now: who accepts may have other things to do. */
    (void)shutdown(guest->fd, SHUT_RDWR);
    pthread_mutex_lock(&proxy->lock);
    guest->state = PROXY_GUEST_ENDED;
    kms_proxy_wake(proxy);
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

/* No signal is taken by one of them. */
static int start_thread(struct proxy_guest *guest)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    if (pthread_attr_init(&attributes) != 0) {
        return -ENOMEM;
    }
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&guest->thread, &attributes, guest_thread, guest);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return -error;
}

static void free_guest(struct proxy_guest *guest)
{
    close(guest->fd);
    OPENSSL_clear_free(guest, sizeof *guest);
}

/* Takes over `fd`. */
static int add_guest(struct kms_proxy *proxy, int fd)
{
    struct proxy_guest *guest = OPENSSL_zalloc(sizeof *guest);

    if (!guest) {
        close(fd);
        return -ENOMEM;
    }
    proxy_guest_init(guest, proxy, fd);
    pthread_mutex_lock(&proxy->lock);
    int r = start_thread(guest);
    if (r == 0) {
        LIST_INSERT_HEAD(&proxy->guests, guest, link);
        proxy->count++;
    }
    pthread_mutex_unlock(&proxy->lock);
    if (r != 0) {
        free_guest(guest);
    }
    return r;
}

static struct proxy_guest *take_ended(struct kms_proxy *proxy)
{
    struct proxy_guest *guest;

    pthread_mutex_lock(&proxy->lock);
    LIST_FOREACH (guest, &proxy->guests, link) {
        if (guest->state == PROXY_GUEST_ENDED) {
            LIST_REMOVE(guest, link);
            proxy->count--;
            break;
        }
    }
    pthread_mutex_unlock(&proxy->lock);
    return guest;
}

static void join_ended(struct kms_proxy *proxy)
{
    struct proxy_guest *guest;

    while ((guest = take_ended(proxy)) != NULL) {
        (void)pthread_join(guest->thread, NULL);
        free_guest(guest);
    }
}

/* Who is told of an end in the middle of nothing comes again: SDKs do. */
static void close_all_idle(struct kms_proxy *proxy)
{
    struct proxy_guest *guest;

    LIST_FOREACH (guest, &proxy->guests, link) {
        if (guest->state == PROXY_GUEST_IDLE) {
            (void)shutdown(guest->fd, SHUT_RD);
        }
    }
}

/* The one that has been idle for the longest, unless one is over anyway, or about to be. */
static void close_one_idle(struct kms_proxy *proxy)
{
    struct proxy_guest *guest, *oldest = NULL;

    LIST_FOREACH (guest, &proxy->guests, link) {
        bool idle = guest->state == PROXY_GUEST_IDLE;
        if (guest->state == PROXY_GUEST_ENDED || (idle && guest->asked_to_go)) {
            return;
        }
        if (idle && (!oldest || guest->idle_since < oldest->idle_since)) {
            oldest = guest;
        }
    }
    if (oldest) {
        oldest->asked_to_go = true;
        (void)shutdown(oldest->fd, SHUT_RD);
    }
}

/* ---- Accepting ---- */

struct acceptor {
    struct kms_proxy *proxy;
    int listener, stop_fd;
    bool room;         /* for one more */
    uint64_t pause;    /* ms: nobody is accepted before */
    uint64_t deadline; /* ms: of draining; 0: not yet */
};

/* Of accept(): what is wrong with the one that came (accept(2), "Error handling") is not our trouble. */
static bool is_shortage(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOBUFS || r == -ENOMEM;
}

/* A newcomer is there, and maybe no room for it. */
static void let_in(struct acceptor *acceptor)
{
    struct kms_proxy *proxy = acceptor->proxy;
    struct sockaddr_any peer;

    if (!acceptor->room) {
        pthread_mutex_lock(&proxy->lock);
        proxy->crowded = true;
        pthread_mutex_unlock(&proxy->lock);
        return;
    }
    int fd = sock_accept(acceptor->listener, &peer);
    if (fd >= 0 ? add_guest(proxy, fd) != 0 : is_shortage(fd)) {
        acceptor->pause = clock_ms() + PAUSE_MS;
    }
}

/* False: this is the second time. */
static bool stop(struct acceptor *acceptor)
{
    struct kms_proxy *proxy = acceptor->proxy;
    char news[128]; /* as much as a signalfd has to say of one signal */

    (void)!read(acceptor->stop_fd, news, sizeof news);
    if (acceptor->deadline != 0) {
        return false;
    }
    acceptor->deadline = clock_ms() + proxy->options.drain_ms;
    pthread_mutex_lock(&proxy->lock);
    proxy->draining = true;
    close_all_idle(proxy);
    pthread_mutex_unlock(&proxy->lock);
    return true;
}

static int time_left(uint64_t until)
{
    uint64_t now = clock_ms();

    return until > now ? (int)(until - now > INT32_MAX ? INT32_MAX : until - now) : 0;
}

/* Whether the listener is to be looked at: while all connections are taken, and one has been asked to go, it is not. */
static bool wants_newcomers(struct acceptor *acceptor)
{
    struct kms_proxy *proxy = acceptor->proxy;

    pthread_mutex_lock(&proxy->lock);
    acceptor->room = proxy->count < proxy->options.connections;
    if (acceptor->room) {
        proxy->crowded = false;
    }
    bool wants = acceptor->room || !proxy->crowded;
    pthread_mutex_unlock(&proxy->lock);
    return wants && acceptor->deadline == 0 && time_left(acceptor->pause) == 0;
}

/* One turn. 0, or -ETIMEDOUT. */
static int turn(struct acceptor *acceptor)
{
    struct kms_proxy *proxy = acceptor->proxy;
    bool wants = wants_newcomers(acceptor);
    struct pollfd fds[] = {
        {.fd = proxy->wake_fd, .events = POLLIN},
        {.fd = acceptor->stop_fd, .events = POLLIN},
        {.fd = wants ? acceptor->listener : -1, .events = POLLIN},
    };
    eventfd_t woken;
    int timeout = -1;

    if (acceptor->deadline != 0) {
        timeout = time_left(acceptor->deadline);
    } else if (time_left(acceptor->pause) > 0) {
        timeout = time_left(acceptor->pause);
    }
    int ready = poll(fds, ARRAY_SIZE(fds), timeout);
    if (acceptor->deadline != 0 && ready == 0) {
        return -ETIMEDOUT;
    }
    (void)eventfd_read(proxy->wake_fd, &woken);
    if (ready > 0 && fds[1].revents != 0 && !stop(acceptor)) {
        return -ETIMEDOUT;
    }
    if (ready > 0 && fds[2].revents != 0 && acceptor->deadline == 0) {
        let_in(acceptor);
    }
    join_ended(proxy);
    return 0;
}

/* While somebody waits to be let in, and nobody has ended: one of those who could go. */
static void make_room(struct kms_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    if (proxy->crowded && proxy->count >= proxy->options.connections) {
        close_one_idle(proxy);
    }
    pthread_mutex_unlock(&proxy->lock);
}

/* Those that were not over in time end when they end: nobody will join them. */
static void leave_guests(struct kms_proxy *proxy)
{
    struct proxy_guest *guest;

    pthread_mutex_lock(&proxy->lock);
    LIST_FOREACH (guest, &proxy->guests, link) {
        (void)pthread_detach(guest->thread);
    }
    pthread_mutex_unlock(&proxy->lock);
}

int kms_proxy_serve(struct postern_kms *kms, int listener, int stop_fd,
                    const struct kms_proxy_options *options, struct error *err)
{
    struct kms_proxy *proxy = malloc(sizeof *proxy);
    struct acceptor acceptor = {.proxy = proxy, .listener = listener, .stop_fd = stop_fd};

    if (!proxy) {
        return error_set(err, -ENOMEM, "cannot begin to serve: out of memory");
    }
    int r = kms_proxy_init(proxy, kms, options, err);
    while (r == 0 && (acceptor.deadline == 0 || proxy->count > 0)) {
        r = turn(&acceptor);
        make_room(proxy);
    }
    if (r == -ETIMEDOUT) {
        leave_guests(proxy); /* and the proxy, which they use */
        return error_set(err, r, "%u connection%s not over in time", proxy->count,
                         units_plural(proxy->count));
    }
    kms_proxy_release(proxy);
    free(proxy);
    return r;
}
