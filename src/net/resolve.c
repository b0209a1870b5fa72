/*
 * Questions, and who waits for their answers.
 *
 * Happy path: resolve_start() finds a fresh answer and returns it. Or it finds none, lets the request wait
 * at the name's entry, and begins a query unless one is under way. on_answer() puts the answer into the
 * entry and the entry on the list `ready`; on_idle() calls the waiting requests back on the next turn.
 *
 * Failure modes, all of which pass through complete() and `ready` too:
 *  1. the server says that the name has no address: kept, so that it is not asked again at once;
 *  2. an error, or the deadline passes: an answer that is past its TTL is served, if there is one;
 *  3. the query is answered after its deadline: nobody is interested, on_answer() frees it.
 *
 * Lifetimes: callers are called back from on_idle() alone, where nothing of c-ares is on the stack, so they
 * may do anything; resolver_close() sets `closing`, which on_idle() looks at after each callback. Entries are
 * freed there and by resolver_close(). A query outlives its entry's interest in it, since c-ares cannot take
 * one back. Requests are linked so that each can be taken out of whatever list it is in. The resolver itself
 * goes with its last handle and last channel.
 */
#include "net/resolve.h"
#include "net/resolve_cache.h"
#include "net/resolve_channel.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct resolve_query {
    struct resolver *resolver;
    struct cache_entry *entry; /* NULL when the answer comes too late */
    struct dns_channel_question question;
};

/* A channel, current or retired. */
struct source {
    struct resolver *resolver;
    struct dns_channel *channel;
    LIST_ENTRY(source) link;
};

struct resolver {
    uv_loop_t *loop;
    struct resolver_options options; /* its strings are owned */
    struct resolver_stats *stats;
    struct cache cache;
    struct cache_list asked;         /* entries with a query, by deadline */
    struct cache_list ready;         /* entries whose query has ended, or that had the answer already */
    unsigned queries;                /* under way, those past their deadline among them */
    struct resolve_request *calling; /* requests being called back */
    struct source *source;           /* the current one */
    LIST_HEAD(, source) sources;
    uv_timer_t deadline;
    uv_idle_t idle;
    unsigned handles; /* of those two, open or being closed */
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
};

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* ---- Lists of requests ---- */

static void link_request(struct resolve_request **list, struct resolve_request *request)
{
    request->next = *list;
    request->link = list;
    if (request->next != NULL)
        request->next->link = &request->next;
    *list = request;
}

static void unlink_request(struct resolve_request *request)
{
    *request->link = request->next;
    if (request->next != NULL)
        request->next->link = request->link;
    request->next = NULL;
    request->link = NULL;
}

static void unlink_all(struct resolve_request **list)
{
    struct resolve_request *next;

    for (struct resolve_request *request = *list; request != NULL; request = next) {
        next = request->next;
        request->next = NULL;
        request->link = NULL;
    }
    *list = NULL;
}

static void move_requests(struct resolve_request **from, struct resolve_request **to)
{
    *to = *from;
    *from = NULL;
    if (*to != NULL)
        (*to)->link = to;
}

/* ---- Queries ---- */

static void on_idle(uv_idle_t *idle);
static void on_deadline(uv_timer_t *timer);

static void make_ready(struct resolver *resolver, struct cache_entry *entry)
{
    if (entry->ready)
        return;
    entry->ready = true;
    TAILQ_INSERT_TAIL(&resolver->ready, entry, ready_link);
    uv_idle_start(&resolver->idle, on_idle);
}

/* The query of the entry has come to an end. */
static void complete(struct resolver *resolver, struct cache_entry *entry, enum reason why,
                     const struct dns_channel_answer *answer)
{
    struct resolver_stats *stats = resolver->stats;
    uint64_t now = uv_now(resolver->loop);

    if (why == REASON_NONE) {
        cache_keep_answer(&resolver->cache, entry, now, answer);
    } else {
        count(why == REASON_DNS_NOT_FOUND ? &stats->not_found
              : why == REASON_DNS_TIMEOUT ? &stats->timeouts
                                          : &stats->failures);
        cache_keep_failure(&resolver->cache, entry, now, why);
    }
    make_ready(resolver, entry);
}

static void arm_deadline(struct resolver *resolver)
{
    const struct cache_entry *first = TAILQ_FIRST(&resolver->asked);
    uint64_t now = uv_now(resolver->loop);

    if (first == NULL)
        uv_timer_stop(&resolver->deadline);
    else
        uv_timer_start(&resolver->deadline, on_deadline, first->deadline > now ? first->deadline - now : 0,
                       0);
}

/* The entry is no longer interested in its query. */
static void detach_query(struct resolver *resolver, struct cache_entry *entry)
{
    entry->query->entry = NULL;
    entry->query = NULL;
    TAILQ_REMOVE(&resolver->asked, entry, asked_link);
}

static void on_answer(struct dns_channel_question *question, enum reason why,
                      const struct dns_channel_answer *answer)
{
    struct resolve_query *query = CONTAINER_OF(question, struct resolve_query, question);
    struct resolver *resolver = query->resolver;
    struct cache_entry *entry = query->entry;

    resolver->queries--;
    if (entry != NULL) {
        detach_query(resolver, entry);
        arm_deadline(resolver);
        complete(resolver, entry, why, answer);
    }
    free(query);
}

static void on_deadline(uv_timer_t *timer)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, deadline);
    struct cache_entry *entry;

    while ((entry = TAILQ_FIRST(&resolver->asked)) != NULL && entry->deadline <= uv_now(resolver->loop)) {
        detach_query(resolver, entry);
        complete(resolver, entry, REASON_DNS_TIMEOUT, NULL);
    }
    arm_deadline(resolver);
}

static int add_source(struct resolver *resolver, struct error *err);

/* The answer may come from inside: /etc/hosts has it, or sending failed at once. */
static int begin_query(struct resolver *resolver, struct cache_entry *entry)
{
    struct resolve_query *query;

    if (resolver->queries >= RESOLVE_QUERIES_MAX) {
        complete(resolver, entry, REASON_DNS_FAILED, NULL);
        return 0;
    }
    query = calloc(1, sizeof(*query));
    if (query == NULL)
        return -ENOMEM;
    if (dns_channel_outdated(resolver->source->channel)) {
        struct source *old = resolver->source;
        if (add_source(resolver, NULL) == 0) /* else the old settings must do */
            dns_channel_retire(old->channel);
    }
    query->resolver = resolver;
    query->entry = entry;
    entry->query = query;
    entry->deadline = uv_now(resolver->loop) + resolver->options.timeout_ms;
    TAILQ_INSERT_TAIL(&resolver->asked, entry, asked_link);
    arm_deadline(resolver);
    resolver->queries++;
    count(&resolver->stats->queries);
    dns_channel_ask(resolver->source->channel, entry->name, &query->question, on_answer);
    return 0;
}

/* ---- Requests ---- */

int resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request, resolve_cb cb,
                  struct resolved *ret)
{
    uint64_t now = uv_now(resolver->loop);
    struct cache_entry *entry;

    if (!addr_is_hostname(name))
        return -EINVAL;
    entry = cache_get(&resolver->cache, name);
    if (entry == NULL)
        return -ENOMEM;
    cache_touch(&resolver->cache, entry);
    if (cache_is_fresh(entry, now)) {
        count(&resolver->stats->hits);
        if (entry->content == CACHE_ADDRESSES) {
            cache_fill_answer(entry, ret);
            return 1;
        }
        make_ready(resolver, entry);
    } else if (cache_must_do(entry, now)) {
        make_ready(resolver, entry);
    } else if (entry->query == NULL && !entry->ready && begin_query(resolver, entry) != 0) {
        cache_release(&resolver->cache, entry);
        return -ENOMEM;
    }
    request->cb = cb;
    link_request(&entry->waiting, request);
    return 0;
}

void resolve_cancel(struct resolve_request *request)
{
    if (request->link != NULL)
        unlink_request(request);
}

/* A callback may begin and cancel any request, and close the resolver: then nothing is left to do. */
static void call_back(struct resolver *resolver, enum reason why, const struct resolved *answer)
{
    while (resolver->calling != NULL) {
        struct resolve_request *request = resolver->calling;
        unlink_request(request);
        if (answer != NULL && answer->stale)
            count(&resolver->stats->stale_served);
        request->cb(request, why, answer);
    }
}

static void deliver(struct resolver *resolver, struct cache_entry *entry)
{
    struct resolved answer;
    bool has_addresses = entry->content == CACHE_ADDRESSES;

    entry->ready = false;
    TAILQ_REMOVE(&resolver->ready, entry, ready_link);
    if (has_addresses)
        cache_fill_answer(entry, &answer);
    move_requests(&entry->waiting, &resolver->calling);
    call_back(resolver, has_addresses ? REASON_NONE : entry->failure, has_addresses ? &answer : NULL);
    if (!resolver->closing)
        cache_release(&resolver->cache, entry);
}

/* Those that become ready from now on have their turn on the next. */
static void on_idle(uv_idle_t *idle)
{
    struct resolver *resolver = CONTAINER_OF(idle, struct resolver, idle);
    const struct cache_entry *last = TAILQ_LAST(&resolver->ready, cache_list);
    bool more = last != NULL;

    while (more && !resolver->closing) {
        struct cache_entry *entry = TAILQ_FIRST(&resolver->ready);
        more = entry != last;
        deliver(resolver, entry);
    }
    if (resolver->closing)
        return;
    cache_trim(&resolver->cache);
    if (TAILQ_EMPTY(&resolver->ready))
        uv_idle_stop(&resolver->idle);
}

/* ---- The resolver ---- */

static void maybe_free_resolver(struct resolver *resolver)
{
    if (resolver->handles > 0 || !LIST_EMPTY(&resolver->sources))
        return;
    void (*closed)(void *data) = resolver->closed;
    void *data = resolver->closed_data;
    free((char *)resolver->options.servers);
    free((char *)resolver->options.resolv_conf);
    free(resolver);
    if (closed != NULL)
        closed(data);
}

static void on_channel_gone(void *data)
{
    struct source *source = data;
    struct resolver *resolver = source->resolver;

    LIST_REMOVE(source, link);
    free(source);
    if (resolver->closing)
        maybe_free_resolver(resolver);
}

static int add_source(struct resolver *resolver, struct error *err)
{
    struct source *source = calloc(1, sizeof(*source));
    if (source == NULL)
        return error_errno(err, -ENOMEM, "cannot start the resolver");
    source->resolver = resolver;
    int r =
        dns_channel_new(resolver->loop, &resolver->options, on_channel_gone, source, &source->channel, err);
    if (r != 0) {
        free(source);
        return r;
    }
    LIST_INSERT_HEAD(&resolver->sources, source, link);
    resolver->source = source;
    return 0;
}

static bool copy_string(const char **string)
{
    if (*string != NULL)
        *string = strdup(*string);
    return *string != NULL;
}

static int copy_options(struct resolver *resolver, const struct resolver_options *options, struct error *err)
{
    struct resolver_options *copy = &resolver->options;

    *copy = *options;
    bool servers = copy_string(&copy->servers) || options->servers == NULL;
    bool resolv_conf = copy_string(&copy->resolv_conf) || options->resolv_conf == NULL;
    return servers && resolv_conf ? 0 : error_errno(err, -ENOMEM, "cannot start the resolver");
}

int resolver_new(uv_loop_t *loop, const struct resolver_options *options, struct resolver_stats *stats,
                 struct resolver **ret, struct error *err)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    int r;

    if (resolver == NULL)
        return error_errno(err, -ENOMEM, "cannot start the resolver");
    resolver->loop = loop;
    resolver->stats = stats;
    TAILQ_INIT(&resolver->asked);
    TAILQ_INIT(&resolver->ready);
    LIST_INIT(&resolver->sources);
    cache_init(&resolver->cache, &resolver->options, &stats->cached);
    r = copy_options(resolver, options, err);
    if (r == 0)
        r = add_source(resolver, err);
    if (r != 0) {
        maybe_free_resolver(resolver);
        return r;
    }
    uv_timer_init(loop, &resolver->deadline);
    uv_idle_init(loop, &resolver->idle);
    resolver->deadline.data = resolver->idle.data = resolver;
    resolver->handles = 2;
    *ret = resolver;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct resolver *resolver = handle->data;
    resolver->handles--;
    maybe_free_resolver(resolver);
}

static void drop_entry(struct cache_entry *entry)
{
    unlink_all(&entry->waiting);
    if (entry->query != NULL)
        entry->query->entry = NULL;
}

void resolver_close(struct resolver *resolver, void (*cb)(void *data), void *data)
{
    struct source *source, *next;

    if (resolver->closing)
        return;
    resolver->closing = true;
    resolver->closed = cb;
    resolver->closed_data = data;
    unlink_all(&resolver->calling);
    cache_clear(&resolver->cache, drop_entry);
    for (source = LIST_FIRST(&resolver->sources); source != NULL; source = next) {
        next = LIST_NEXT(source, link);
        dns_channel_close(source->channel);
    }
    uv_close((uv_handle_t *)&resolver->deadline, on_handle_closed);
    uv_close((uv_handle_t *)&resolver->idle, on_handle_closed);
}
