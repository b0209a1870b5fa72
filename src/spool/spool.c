/*
 * Opening and closing, and how ops go from hand to hand.
 *
 * Closing: the owners have ended all they had, so that only what they left behind is still under way. Each thread goes
 * when it finds both queues empty and the other thread idle, so that neither leaves the other with work for it.
 */
#include "spool/spool_private.h"

#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The longest sleep: a clock that was set is noticed by then. */
#define SLEEP_MOST_MS 60000U

/* How long the writer waits for those to come back whom the last transaction let go, at most: as part of the time
 * that a sync takes, and in ns. */
#define GATHER_PART 4
#define GATHER_MOST 2000000U

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec at;

    clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * 1000000000U + (uint64_t)at.tv_nsec;
}

uint64_t spool_now(const struct spool *spool)
{
    return spool->options.now_ms ? spool->options.now_ms() : clock_ns(CLOCK_REALTIME) / 1000000U;
}

uint64_t spool_steady(const struct spool *spool)
{
    return spool->options.manual ? spool_now(spool) : clock_ns(CLOCK_MONOTONIC) / 1000000U;
}

uint64_t spool_random(void)
{
    uint64_t random = 0;

    /* Never more than a detail of timing: without it, there is none. */
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
        return 0;
    }
    return random;
}

const char *spool_state_word(enum spool_state state)
{
    static const char *const words[SPOOL_STATES] = {"ready", "waiting", "dead", "damaged"};

    return words[state];
}

/* --- Ops --- */

void op_init(struct op *op, struct spool *spool, struct spool_port *port, void (*destroy)(struct op *op))
{
    *op = (struct op){.spool = spool, .port = port, .place = OP_HELD, .destroy = destroy};
}

static void enqueue(struct op *op, const struct op_class *class, struct queue *queue)
{
    struct spool *spool = op->spool;

    pthread_mutex_lock(&spool->lock);
    op->class = class;
    op->place = OP_WORKING;
    STAILQ_INSERT_TAIL(&queue->list, op, link);
    if (++queue->count >= queue->wake_at) {
        queue->wake_at = SIZE_MAX;
        pthread_cond_signal(&queue->wake);
    }
    pthread_mutex_unlock(&spool->lock);
}

void op_to_writer(struct op *op, const struct op_class *class)
{
    enqueue(op, class, &op->spool->writer);
}

void op_to_files(struct op *op, const struct op_class *class)
{
    enqueue(op, class, &op->spool->files);
}

/* `wake` is called under the lock: so that it is not called any more once the port was closed. */
void op_report(struct op *op)
{
    struct spool *spool = op->spool;
    struct spool_port *port;

    pthread_mutex_lock(&spool->lock);
    port = op->port;
    if (port) {
        op->place = OP_REPORTED;
        STAILQ_INSERT_TAIL(&port->reported, op, link);
        if (!port->awake) {
            port->awake = true;
            port->wake(port->arg);
        }
    }
    pthread_mutex_unlock(&spool->lock);
    if (!port) {
        op->class->abandoned(op);
    }
}

bool op_detach_locked(struct op *op)
{
    if (op->place == OP_REPORTED) {
        STAILQ_REMOVE(&op->port->reported, op, op, link);
        op->place = OP_HELD;
    }
    op->port = NULL;
    return op->place == OP_HELD;
}

bool op_detach(struct op *op)
{
    bool is_ours;

    pthread_mutex_lock(&op->spool->lock);
    is_ours = op_detach_locked(op);
    pthread_mutex_unlock(&op->spool->lock);
    return is_ours;
}

/* --- Ports --- */

int spool_port_open(struct spool *spool, void (*wake)(void *arg), void *arg, struct spool_port **ret)
{
    struct spool_port *port = calloc(1, sizeof(*port));

    if (!port) {
        return -ENOMEM;
    }
    port->spool = spool;
    port->wake = wake;
    port->arg = arg;
    STAILQ_INIT(&port->reported);
    *ret = port;
    return 0;
}

static struct op *next_report(struct spool_port *port)
{
    struct op *op;

    pthread_mutex_lock(&port->spool->lock);
    op = STAILQ_FIRST(&port->reported);
    if (op) {
        STAILQ_REMOVE_HEAD(&port->reported, link);
        op->place = OP_HELD;
    }
    pthread_mutex_unlock(&port->spool->lock);
    return op;
}

/* What is reported while this runs wakes anew: a busy spool must not keep a loop here. */
void spool_port_run(struct spool_port *port)
{
    struct op *op;
    size_t count = 0;

    pthread_mutex_lock(&port->spool->lock);
    port->awake = false;
    STAILQ_FOREACH (op, &port->reported, link) {
        count++;
    }
    pthread_mutex_unlock(&port->spool->lock);
    while (count-- > 0 && (op = next_report(port)) != NULL) {
        op->class->report(op);
    }
}

/* The lock is taken once, so that a wake that is being called has returned. */
void spool_port_close(struct spool_port *port)
{
    struct spool *spool = port->spool;

    pthread_mutex_lock(&spool->lock);
    pthread_mutex_unlock(&spool->lock);
    free(port);
}

/* --- Routes --- */

struct route *route_get(struct spool *spool, const char *name)
{
    struct route *route;

    SLIST_FOREACH (route, &spool->routes, link) {
        if (strcmp(route->name, name) == 0) {
            return route;
        }
    }
    route = calloc(1, sizeof(*route));
    if (!route) {
        return NULL;
    }
    route->name = strdup(name);
    if (!route->name) {
        free(route);
        return NULL;
    }
    TAILQ_INIT(&route->waiting);
    TAILQ_INIT(&route->leased);
    TAILQ_INIT(&route->turns);
    route->changed = true;
    SLIST_INSERT_HEAD(&spool->routes, route, link);
    return route;
}

struct route *route_first(struct spool *spool)
{
    struct route *route;

    pthread_mutex_lock(&spool->lock);
    route = SLIST_FIRST(&spool->routes);
    pthread_mutex_unlock(&spool->lock);
    return route;
}

struct route *route_find(struct spool *spool, const char *name)
{
    struct route *route = route_first(spool);

    while (route && strcmp(route->name, name) != 0) {
        route = SLIST_NEXT(route, link);
    }
    return route;
}

struct tally *route_tally(struct spool *spool, const struct route *route, struct tally *after)
{
    if (after) {
        after = SLIST_NEXT(after, link);
    } else {
        pthread_mutex_lock(&spool->lock);
        after = SLIST_FIRST(&spool->tallies.all);
        pthread_mutex_unlock(&spool->lock);
    }
    while (after && strcmp(after->route, route->name) != 0) {
        after = SLIST_NEXT(after, link);
    }
    return after;
}

void spool_set_bounds(struct spool *spool, uint64_t max_bytes, uint64_t max_enclave_bytes)
{
    pthread_mutex_lock(&spool->lock);
    spool->options.max_bytes = max_bytes;
    spool->options.max_enclave_bytes = max_enclave_bytes;
    pthread_mutex_unlock(&spool->lock);
}

int spool_set_policy(struct spool *spool, const char *route, const struct spool_policy *policy)
{
    struct route *known;

    if (strlen(route) > SPOOL_NAME_MAX) {
        return -EMSGSIZE;
    }
    pthread_mutex_lock(&spool->lock);
    known = route_get(spool, route);
    if (known) {
        known->policy = *policy;
    }
    pthread_mutex_unlock(&spool->lock);
    return known ? 0 : -ENOMEM;
}

/* Those that have records are known from the start: their figures are asked for. The tallies of a route are side by side,
 * as the database has them. */
static int make_routes(struct spool *spool, struct error *err)
{
    struct tally *tally;
    struct route *route = NULL;

    SLIST_FOREACH (tally, &spool->tallies.all, link) {
        if (!route || strcmp(tally->route, route->name) != 0) {
            route = route_get(spool, tally->route);
        }
        if (!route) {
            return error_errno(err, -ENOMEM, "spool %s", spool->place.path);
        }
        route_expect(route, tally);
    }
    return 0;
}

/* --- Threads --- */

/* Under the lock: whether there is anything left to do, for either thread. */
static bool is_idle(const struct spool *spool)
{
    return spool->writer.count == 0 && !spool->writer.busy && spool->files.count == 0 && !spool->files.busy;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000U), .tv_nsec = (long)(ns % 1000000000U)};
}

/* Until there is something to do, or that time by CLOCK_MONOTONIC has come. False: the thread is to go. */
static bool await_work(struct spool *spool, struct queue *queue, uint64_t until_ns)
{
    struct timespec until = timespec_of(until_ns);
    int r = 0;

    while (queue->count == 0 && r != ETIMEDOUT) {
        if (spool->closing && is_idle(spool)) {
            return false;
        }
        queue->wake_at = 1;
        r = spool->closing ? pthread_cond_wait(&queue->wake, &spool->lock)
                           : pthread_cond_clockwait(&queue->wake, &spool->lock, CLOCK_MONOTONIC, &until);
    }
    queue->wake_at = SIZE_MAX;
    return true;
}

/*
 * Group commit. Those whom the last transaction let go will mostly come back at once, but not all before the first one has
 * woken the writer, who would then sync for one while the others wait: groups would be small and large in turns. So it
 * waits a little for as many as there were; one client alone never waits.
 */
static void gather(struct spool *spool)
{
    struct queue *queue = &spool->writer;
    uint64_t patience = spool->last_sync / GATHER_PART;
    struct timespec until =
        timespec_of(clock_ns(CLOCK_MONOTONIC) + (patience < GATHER_MOST ? patience : GATHER_MOST));
    int r = 0;

    while (queue->count > 0 && queue->count < spool->last_group && !spool->closing && r != ETIMEDOUT) {
        queue->wake_at = spool->last_group;
        r = pthread_cond_clockwait(&queue->wake, &spool->lock, CLOCK_MONOTONIC, &until);
    }
    queue->wake_at = SIZE_MAX;
}

/* One turn without the lock; and when closing, lets the other thread see that there may be nothing left. */
static void take_turn(struct spool *spool, struct queue *queue, bool (*turn)(struct spool *spool))
{
    queue->busy = true;
    pthread_mutex_unlock(&spool->lock);
    turn(spool);
    pthread_mutex_lock(&spool->lock);
    queue->busy = false;
    if (!spool->closing) {
        return;
    }
    pthread_cond_signal(&spool->writer.wake);
    pthread_cond_signal(&spool->files.wake);
}

static void *writer_main(void *arg)
{
    struct spool *spool = arg;

    for (;;) {
        uint64_t latest = spool_steady(spool) + SLEEP_MOST_MS;
        uint64_t deadline = writer_deadline(spool);
        bool stay;

        pthread_mutex_lock(&spool->lock);
        stay = await_work(spool, &spool->writer, (deadline < latest ? deadline : latest) * 1000000U);
        if (stay) {
            gather(spool);
            take_turn(spool, &spool->writer, writer_turn);
        }
        pthread_mutex_unlock(&spool->lock);
        if (!stay) {
            return NULL;
        }
    }
}

static void *files_main(void *arg)
{
    struct spool *spool = arg;

    pthread_mutex_lock(&spool->lock);
    while (await_work(spool, &spool->files, clock_ns(CLOCK_MONOTONIC) + SLEEP_MOST_MS * 1000000ULL)) {
        take_turn(spool, &spool->files, files_turn);
    }
    pthread_mutex_unlock(&spool->lock);
    return NULL;
}

static void stop_threads(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    spool->closing = true;
    pthread_cond_signal(&spool->writer.wake);
    pthread_cond_signal(&spool->files.wake);
    pthread_mutex_unlock(&spool->lock);
    while (spool->thread_count > 0) {
        pthread_join(spool->threads[--spool->thread_count], NULL);
    }
}

/* With every signal blocked: they are the main thread's to handle. */
static int start_threads(struct spool *spool, struct error *err)
{
    void *(*const mains[])(void *arg) = {writer_main, files_main};
    sigset_t all, before;
    int r;

    sigfillset(&all);
    r = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r != 0) {
        return error_errno(err, -r, "spool %s: cannot start a thread", spool->place.path);
    }
    while (r == 0 && spool->thread_count < ARRAY_SIZE(mains)) {
        r = pthread_create(&spool->threads[spool->thread_count], NULL, mains[spool->thread_count], spool);
        spool->thread_count += r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0) {
        return 0;
    }
    stop_threads(spool);
    return error_errno(err, -r, "spool %s: cannot start a thread", spool->place.path);
}

bool spool_turn(struct spool *spool)
{
    bool wrote = writer_turn(spool);

    return files_turn(spool) || wrote;
}

/* --- Opening and closing --- */

static void init_queue(struct queue *queue)
{
    *queue = (struct queue){.wake_at = SIZE_MAX, .wake = PTHREAD_COND_INITIALIZER};
    STAILQ_INIT(&queue->list);
}

static void destroy(struct spool *spool)
{
    while (!SLIST_EMPTY(&spool->routes)) {
        struct route *route = SLIST_FIRST(&spool->routes);

        SLIST_REMOVE_HEAD(&spool->routes, link);
        free(route->name);
        free(route);
    }
    if (spool->store) {
        store_close(spool->store);
    }
    tallies_release(&spool->tallies);
    place_close(&spool->place);
    pthread_cond_destroy(&spool->files.wake);
    pthread_cond_destroy(&spool->writer.wake);
    pthread_mutex_destroy(&spool->lock);
    free(spool);
}

static struct spool *create(const struct spool_options *options)
{
    struct spool *spool = calloc(1, sizeof(*spool));

    if (!spool) {
        return NULL;
    }
    spool->options = *options;
    spool->options.path = NULL;
    spool->options.vfs = NULL;
    spool->place = (struct place){.directory = -1, .bodies = -1};
    spool->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    init_queue(&spool->writer);
    init_queue(&spool->files);
    tallies_init(&spool->tallies);
    SLIST_INIT(&spool->routes);
    STAILQ_INIT(&spool->again);
    STAILQ_INIT(&spool->removed);
    return spool;
}

static int open_parts(struct spool *spool, const struct spool_options *options, struct error *err)
{
    struct store_options store = {.place = &spool->place,
                                  .vfs = options->vfs,
                                  .tallies = &spool->tallies,
                                  .lock = &spool->lock};
    int r = place_open(&spool->place, options->path, err);

    if (r < 0) {
        return r;
    }
    if (digest_prepare() < 0) {
        return error_set(err, -ENOMEM, "spool %s: OpenSSL has no SHA-256 for it", options->path);
    }
    spool->vfs = sqlite3_vfs_find(options->vfs);
    r = store_open(&store, &spool->store, err);
    if (r == 0) {
        r = place_sync(&spool->place, err); /* the log is new, and a journal is gone */
    }
    if (r == 0) {
        r = make_routes(spool, err);
    }
    if (r == 0) {
        r = chores_init(spool, err);
    }
    if (r == 0) {
        writer_note_oldest(spool);
    }
    return r;
}

int spool_open(const struct spool_options *options, struct spool **ret, struct error *err)
{
    struct spool *spool = create(options);
    int r;

    if (!spool) {
        return error_errno(err, -ENOMEM, "spool %s", options->path);
    }
    r = open_parts(spool, options, err);
    if (r == 0 && !options->manual) {
        r = start_threads(spool, err);
    }
    if (r < 0) {
        destroy(spool);
        return r;
    }
    *ret = spool;
    return 0;
}

static void destroy_ops(struct op_list *list)
{
    while (!STAILQ_EMPTY(list)) {
        struct op *op = STAILQ_FIRST(list);

        STAILQ_REMOVE_HEAD(list, link);
        op->destroy(op);
    }
}

/* Verdicts that could not be carried out are forgotten here: those records come again. */
void spool_close(struct spool *spool)
{
    if (spool->options.manual) {
        spool->closing = true;
        while (spool_turn(spool)) {
            ;
        }
    }
    stop_threads(spool);
    destroy_ops(&spool->again);
    destroy_ops(&spool->removed);
    destroy(spool);
}
