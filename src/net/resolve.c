/*
 * Questions, and who waits for their answers.
 *
 * Happy path: resolve_start() finds a fresh answer and returns it. Or it finds none, lets the request wait
 * at the name's entry, and begins a query unless one is under way. on_answer() puts the answer into the
 * entry and makes the waiting requests `ready`, each at its own resolver; on_idle() calls them back on that
 * loop's next turn.
 *
 * Failure modes, all of which pass through complete() and `ready` too:
 *  1. the server says that the name has no address: kept, so that it is not asked again at once;
 *  2. an error, or the deadline passes: an answer that is past its TTL is served, if there is one;
 *  3. the query is answered after its deadline: nobody is interested, on_answer() frees it;
 *  4. the resolver that asks is closed, and others wait: they are told that it failed.
 *
 * Threads: what resolvers share is `struct resolve_common`. Its lock guards that, the entries, and where a
 * request is (`entry`, `ready`, `link`); all else belongs to the thread of the one resolver. The lock is held
 * neither over a callback nor over a call into c-ares, which may answer from inside. A resolver wakes
 * another under the lock, and only for a request that is ready there: one that closes has taken its requests
 * back before its handles go.
 *
 * Lifetimes: callers are called back from on_idle() alone, where nothing of c-ares is on the stack, so they
 * may do anything; resolver_close() sets `closing`, which on_idle() looks at after each callback. An entry
 * that is asked for, waited for or ready is not freed. A query outlives its entry's interest in it, since
 * c-ares cannot take one back. The resolver itself goes with its last handle and last channel, and what it
 * shares with the last resolver.
 */
#include "net/resolve.h"
#include "net/resolve_cache.h"
#include "net/resolve_channel.h"
#include "net/resolve_common.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/queue.h>

struct resolve_query {
    struct resolver *resolver;
    struct cache_entry *entry; /* NULL when the answer comes too late */
    struct resolve_asker *asker;
    uint64_t deadline;
    TAILQ_ENTRY(resolve_query) link; /* in `asked`, while there is an entry */
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
    struct resolve_common *common;
    struct resolve_requests ready;         /* under the lock; to be called back */
    unsigned ready_count;                  /* under the lock */
    LIST_HEAD(, resolve_request) requests; /* all that are not idle */
    TAILQ_HEAD(, resolve_query) asked;     /* this resolver's own, by deadline */
    struct source *source;                 /* the current one */
    LIST_HEAD(, source) sources;
    uv_timer_t deadline;
    uv_idle_t idle;
    uv_async_t wake;  /* by the other resolvers; keeps the loop running while there are requests */
    unsigned handles; /* of those three, open or being closed */
    bool closing;
    void (*closed)(void *data);
    void *closed_data;
};

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void on_idle(uv_idle_t *idle);
static void on_deadline(uv_timer_t *timer);

/* ---- Requests ---- */

/* Under the lock. `resolver` is the one whose thread this is. */
static void make_ready(struct resolver *resolver, struct cache_entry *entry, struct resolve_request *request)
{
    struct resolver *own = request->resolver;

    entry->ready++;
    request->entry = entry;
    request->ready = true;
    TAILQ_INSERT_TAIL(&own->ready, request, link);
    own->ready_count++;
    if (own == resolver) {
        uv_idle_start(&own->idle, on_idle);
    } else {
        uv_async_send(&own->wake);
    }
}

/* Under the lock. */
static void make_wait(struct cache_entry *entry, struct resolve_request *request)
{
    request->entry = entry;
    request->ready = false;
    TAILQ_INSERT_TAIL(&entry->waiting, request, link);
}

/* Under the lock: neither waits nor is ready any more. */
static void take_back(struct resolver *resolver, struct resolve_request *request)
{
    struct cache_entry *entry = request->entry;

    if (request->ready) {
        TAILQ_REMOVE(&resolver->ready, request, link);
        resolver->ready_count--;
        entry->ready--;
        cache_release(&resolver->common->cache, entry);
    } else {
        TAILQ_REMOVE(&entry->waiting, request, link); /* the query holds the entry */
    }
    request->entry = NULL;
}

static void adopt(struct resolver *resolver, struct resolve_request *request, resolve_cb cb)
{
    request->cb = cb;
    request->resolver = resolver;
    LIST_INSERT_HEAD(&resolver->requests, request, own_link);
    uv_ref((uv_handle_t *)&resolver->wake);
}

/* The request is the caller's again. */
static void let_go(struct resolve_request *request)
{
    struct resolver *resolver = request->resolver;

    LIST_REMOVE(request, own_link);
    request->resolver = NULL;
    if (LIST_EMPTY(&resolver->requests)) {
        uv_unref((uv_handle_t *)&resolver->wake);
    }
}

/* ---- Queries ---- */

/* Under the lock. The query of the entry has come to an end, or was not even begun. */
static void complete(struct resolver *resolver, struct cache_entry *entry, enum reason why,
                     const struct dns_channel_answer *answer)
{
    struct resolve_common *common = resolver->common;
    struct resolver_stats *stats = common->stats;
    uint64_t now = uv_now(resolver->loop);
    struct resolve_request *request;

    entry->asked = false;
    if (why == REASON_NONE) {
        cache_keep_answer(&common->cache, entry, now, answer);
    } else {
        count(why == REASON_DNS_NOT_FOUND ? &stats->not_found
              : why == REASON_DNS_TIMEOUT ? &stats->timeouts
                                          : &stats->failures);
        cache_keep_failure(&common->cache, entry, now, why);
    }
    while ((request = TAILQ_FIRST(&entry->waiting)) != NULL) {
        TAILQ_REMOVE(&entry->waiting, request, link);
        make_ready(resolver, entry, request);
    }
    cache_release(&common->cache, entry);
    cache_trim(&common->cache);
}

static void arm_deadline(struct resolver *resolver)
{
    const struct resolve_query *first = TAILQ_FIRST(&resolver->asked);
    uint64_t now = uv_now(resolver->loop);

    if (first == NULL) {
        uv_timer_stop(&resolver->deadline);
    } else {
        uv_timer_start(&resolver->deadline, on_deadline, first->deadline > now ? first->deadline - now : 0,
                       0);
    }
}

/* Nobody is interested in the query any more. Returns the entry, which is to be completed. */
static struct cache_entry *detach_query(struct resolve_query *query)
{
    struct cache_entry *entry = query->entry;

    query->entry = NULL;
    TAILQ_REMOVE(&query->resolver->asked, query, link);
    return entry;
}

static void on_answer(struct dns_channel_question *question, enum reason why,
                      const struct dns_channel_answer *answer)
{
    struct resolve_query *query = CONTAINER_OF(question, struct resolve_query, question);
    struct resolver *resolver = query->resolver;
    struct cache_entry *entry = query->entry != NULL ? detach_query(query) : NULL;

    uv_mutex_lock(&resolver->common->lock);
    resolve_common_give_place(resolver->common, query->asker);
    if (entry != NULL) {
        complete(resolver, entry, why, answer);
    }
    uv_mutex_unlock(&resolver->common->lock);
    if (entry != NULL) {
        arm_deadline(resolver);
    }
    free(query);
}

static void on_deadline(uv_timer_t *timer)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, deadline);
    struct resolve_query *query;

    while ((query = TAILQ_FIRST(&resolver->asked)) != NULL && query->deadline <= uv_now(resolver->loop)) {
        struct cache_entry *entry = detach_query(query);
        uv_mutex_lock(&resolver->common->lock);
        complete(resolver, entry, REASON_DNS_TIMEOUT, NULL);
        uv_mutex_unlock(&resolver->common->lock);
    }
    arm_deadline(resolver);
}

static int add_source(struct resolver *resolver, struct error *err);

/* The answer may come from inside: /etc/hosts has it, or sending failed at once. */
static void send_query(struct resolver *resolver, struct resolve_query *query)
{
    if (dns_channel_outdated(resolver->source->channel)) {
        struct source *old = resolver->source;
        if (add_source(resolver, NULL) == 0) { /* else the old settings must do */
            dns_channel_retire(old->channel);
        }
    }
    query->deadline = uv_now(resolver->loop) + resolver->common->options.timeout_ms;
    TAILQ_INSERT_TAIL(&resolver->asked, query, link);
    arm_deadline(resolver);
    count(&resolver->common->stats->queries);
    dns_channel_ask(resolver->source->channel, query->entry->name, &query->question, on_answer);
}

/* Under the lock: the entry is being asked for from here on, unless that is refused. */
static enum reason new_query(struct resolver *resolver, struct cache_entry *entry, uint32_t asker,
                             struct resolve_query **ret)
{
    struct resolve_query *query = calloc(1, sizeof(*query));
    enum reason why = REASON_NO_MEMORY;

    if (query != NULL) {
        why = resolve_common_take_place(resolver->common, asker, &query->asker);
    }
    if (why != REASON_NONE) {
        free(query);
        return why;
    }
    query->resolver = resolver;
    query->entry = entry;
    entry->asked = true;
    *ret = query;
    return REASON_NONE;
}

/* ---- Questions ---- */

/* Under the lock. `*ret_query` is to be sent, if it is set. */
static int wait_for_entry(struct resolver *resolver, struct cache_entry *entry,
                          struct resolve_request *request, resolve_cb cb, struct resolve_query **ret_query)
{
    struct resolve_common *common = resolver->common;
    uint64_t now = uv_now(resolver->loop);
    bool fresh = cache_is_fresh(entry, now); /* and the name is known to have no address */
    bool known = fresh || cache_must_do(entry, now);
    enum reason refused = REASON_NONE;

    if (!known && !entry->asked) {
        refused = new_query(resolver, entry, request->asker, ret_query);
    }
    if (refused == REASON_NO_MEMORY) {
        cache_release(&common->cache, entry);
        return -ENOMEM;
    }
    if (fresh) {
        count(&common->stats->hits);
    }
    adopt(resolver, request, cb);
    request->refused = refused;
    if (known || refused != REASON_NONE) {
        make_ready(resolver, entry, request);
    } else {
        make_wait(entry, request);
    }
    return 0;
}

/* Under the lock: 1 and the fresh addresses, or 0 and the entry to wait for. */
static int look_up(struct resolver *resolver, const char *name, struct resolved *ret,
                   struct cache_entry **ret_entry)
{
    struct resolve_common *common = resolver->common;
    struct cache_entry *entry = cache_get(&common->cache, name);

    if (entry == NULL) {
        return -ENOMEM;
    }
    cache_touch(&common->cache, entry);
    *ret_entry = entry;
    if (entry->content != CACHE_ADDRESSES || !cache_is_fresh(entry, uv_now(resolver->loop))) {
        return 0;
    }
    count(&common->stats->hits);
    cache_fill_answer(entry, ret);
    return 1;
}

int resolve_start(struct resolver *resolver, const char *name, struct resolve_request *request, resolve_cb cb,
                  struct resolved *ret)
{
    struct cache_entry *entry;
    struct resolve_query *query = NULL;

    if (!addr_is_hostname(name)) {
        return -EINVAL;
    }
    uv_mutex_lock(&resolver->common->lock);
    int r = look_up(resolver, name, ret, &entry);
    if (r == 0) {
        r = wait_for_entry(resolver, entry, request, cb, &query);
    }
    uv_mutex_unlock(&resolver->common->lock);
    if (query != NULL) {
        send_query(resolver, query);
    }
    return r;
}

void resolve_cancel(struct resolve_request *request)
{
    struct resolver *resolver = request->resolver;

    if (resolver == NULL) {
        return;
    }
    uv_mutex_lock(&resolver->common->lock);
    take_back(resolver, request);
    uv_mutex_unlock(&resolver->common->lock);
    let_go(request);
}

/* A callback may begin and cancel any request, and close the resolver: then nothing is left to do. */
static void call_back(struct resolver *resolver, struct resolve_request *request)
{
    const struct cache_entry *entry = request->entry;
    enum reason why = request->refused;
    struct resolved answer;
    bool stale = false;

    uv_mutex_lock(&resolver->common->lock);
    if (entry->content == CACHE_ADDRESSES &&
        (why == REASON_NONE || cache_may_serve(entry, uv_now(resolver->loop)))) {
        cache_fill_answer(entry, &answer);
        stale = answer.stale = answer.stale || why != REASON_NONE;
        why = REASON_NONE;
    } else if (why == REASON_NONE) {
        why = entry->failure;
    }
    take_back(resolver, request);
    uv_mutex_unlock(&resolver->common->lock);
    let_go(request);
    if (stale) {
        count(&resolver->common->stats->stale_served);
    }
    request->cb(request, why, why == REASON_NONE ? &answer : NULL);
}

/* The request whose turn it is, and how many there are. */
static struct resolve_request *first_ready(struct resolver *resolver, unsigned *ret_count)
{
    uv_mutex_lock(&resolver->common->lock);
    struct resolve_request *request = TAILQ_FIRST(&resolver->ready);
    *ret_count = resolver->ready_count;
    uv_mutex_unlock(&resolver->common->lock);
    return request;
}

/* Those that become ready from now on have their turn on the next. */
static void on_idle(uv_idle_t *idle)
{
    struct resolver *resolver = CONTAINER_OF(idle, struct resolver, idle);
    unsigned left, now;
    struct resolve_request *request = first_ready(resolver, &left);

    for (; request != NULL && left > 0; left--) {
        call_back(resolver, request);
        if (resolver->closing) {
            return;
        }
        request = first_ready(resolver, &now);
    }
    if (request == NULL) {
        uv_idle_stop(&resolver->idle);
    }
    uv_mutex_lock(&resolver->common->lock);
    cache_trim(&resolver->common->cache);
    uv_mutex_unlock(&resolver->common->lock);
}

static void on_wake(uv_async_t *wake)
{
    struct resolver *resolver = CONTAINER_OF(wake, struct resolver, wake);
    uv_idle_start(&resolver->idle, on_idle);
}

/* ---- The resolver ---- */

static void maybe_free_resolver(struct resolver *resolver)
{
    if (resolver->handles > 0 || !LIST_EMPTY(&resolver->sources)) {
        return;
    }
    void (*closed)(void *data) = resolver->closed;
    void *data = resolver->closed_data;
    resolve_common_leave(resolver->common);
    free(resolver);
    if (closed != NULL) {
        closed(data);
    }
}

static void on_channel_gone(void *data)
{
    struct source *source = data;
    struct resolver *resolver = source->resolver;

    LIST_REMOVE(source, link);
    free(source);
    if (resolver->closing) {
        maybe_free_resolver(resolver);
    }
}

static int add_source(struct resolver *resolver, struct error *err)
{
    struct source *source = calloc(1, sizeof(*source));
    if (source == NULL) {
        return error_errno(err, -ENOMEM, "cannot start the resolver");
    }
    source->resolver = resolver;
    int r = dns_channel_new(resolver->loop, &resolver->common->options, on_channel_gone, source,
                            &source->channel, err);
    if (r != 0) {
        free(source);
        return r;
    }
    LIST_INSERT_HEAD(&resolver->sources, source, link);
    resolver->source = source;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct resolver *resolver = handle->data;
    resolver->handles--;
    maybe_free_resolver(resolver);
}

static struct resolver *new_member(uv_loop_t *loop, struct resolve_common *common)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));

    resolve_common_enter(common); /* without memory too: whoever leaves last frees it */
    if (resolver == NULL) {
        resolve_common_leave(common);
        return NULL;
    }
    resolver->loop = loop;
    resolver->common = common;
    TAILQ_INIT(&resolver->ready);
    TAILQ_INIT(&resolver->asked);
    LIST_INIT(&resolver->requests);
    LIST_INIT(&resolver->sources);
    return resolver;
}

static int open_member(uv_loop_t *loop, struct resolve_common *common, struct resolver **ret,
                       struct error *err)
{
    struct resolver *resolver = new_member(loop, common);
    if (resolver == NULL) {
        return error_errno(err, -ENOMEM, "cannot start the resolver");
    }
    int r = add_source(resolver, err);
    if (r != 0) {
        maybe_free_resolver(resolver);
        return r;
    }
    r = uv_async_init(loop, &resolver->wake, on_wake);
    if (r != 0) {
        resolver->closing = true;
        dns_channel_close(resolver->source->channel);
        return error_errno(err, r, "cannot start the resolver");
    }
    uv_unref((uv_handle_t *)&resolver->wake);
    uv_timer_init(loop, &resolver->deadline);
    uv_idle_init(loop, &resolver->idle);
    resolver->deadline.data = resolver->idle.data = resolver->wake.data = resolver;
    resolver->handles = 3;
    *ret = resolver;
    return 0;
}

int resolver_new(uv_loop_t *loop, const struct resolver_options *options, struct resolver_stats *stats,
                 struct resolver **ret, struct error *err)
{
    struct resolve_common *common = resolve_common_new(options, stats);
    if (common == NULL) {
        return error_errno(err, -ENOMEM, "cannot start the resolver");
    }
    return open_member(loop, common, ret, err);
}

int resolver_join(uv_loop_t *loop, struct resolver *other, struct resolver **ret, struct error *err)
{
    return open_member(loop, other->common, ret, err);
}

/* Under the lock: this resolver will bring no answer for the entry. */
static void give_up(struct resolver *resolver, struct cache_entry *entry)
{
    if (!TAILQ_EMPTY(&entry->waiting)) {
        complete(resolver, entry, REASON_DNS_FAILED, NULL);
        return;
    }
    entry->asked = false;
    cache_release(&resolver->common->cache, entry);
}

static void end_questions(struct resolver *resolver)
{
    struct resolve_request *request, *next;
    struct resolve_query *query;

    uv_mutex_lock(&resolver->common->lock);
    for (request = LIST_FIRST(&resolver->requests); request != NULL; request = next) {
        next = LIST_NEXT(request, own_link);
        take_back(resolver, request);
        let_go(request);
    }
    while ((query = TAILQ_FIRST(&resolver->asked)) != NULL) {
        give_up(resolver, detach_query(query));
    }
    uv_mutex_unlock(&resolver->common->lock);
}

void resolver_close(struct resolver *resolver, void (*cb)(void *data), void *data)
{
    struct source *source, *next;

    if (resolver->closing) {
        return;
    }
    resolver->closing = true;
    resolver->closed = cb;
    resolver->closed_data = data;
    end_questions(resolver);
    for (source = LIST_FIRST(&resolver->sources); source != NULL; source = next) {
        next = LIST_NEXT(source, link);
        dns_channel_close(source->channel);
    }
    uv_close((uv_handle_t *)&resolver->deadline, on_handle_closed);
    uv_close((uv_handle_t *)&resolver->idle, on_handle_closed);
    uv_close((uv_handle_t *)&resolver->wake, on_handle_closed);
}
