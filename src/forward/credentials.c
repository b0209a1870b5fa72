/* AWS credentials of a worker: see credentials.h. */
#include "forward/credentials.h"

#include "base/log.h"
#include "forward/credentials_load.h"
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* New keys are asked for this long before the old ones expire, or a quarter of their life if that is shorter; and not by all
 * workers and machines at once: between half of it and all of it. */
#define LEAD_MAX_MS UINT64_C(300000)

/* An endpoint that failed is left in peace for a while: doubled each time. */
#define PAUSE_MIN_MS UINT64_C(500)
#define PAUSE_MAX_MS UINT64_C(10000)

/* How it went last, for a log that tells changes. */
enum health { HEALTH_NEW, HEALTH_GOOD, HEALTH_OLD, HEALTH_NONE };

struct credentials_source {
    LIST_ENTRY(credentials_source) link;
    struct loop *loop;
    unsigned users;
    struct credentials_load load;
    bool loading; /* load's callback will come */

    bool have;
    struct credentials_found found; /* while `have` */
    uint64_t refresh_at;            /* by credentials_now_ms(); while `have` */
    uint64_t refused_at; /* by credentials_now_ms(): when others were asked for because of that; 0: never */

    unsigned failures; /* in a row */
    uint64_t retry_at; /* by loop_now(): not to be asked again before */
    struct error why;  /* of the last failure */
    enum health health;
    struct log_limit lines;

    TAILQ_HEAD(, credentials_waiter) waiters;
    unsigned waiting;
};

static void load_came(void *data, struct credentials_found *found, const struct error *err);

static void free_wiped(void *memory)
{
    if (memory != NULL) {
        OPENSSL_cleanse(memory, malloc_usable_size(memory));
        free(memory);
    }
}

void credentials_prepare(void)
{
    json_set_alloc_funcs(malloc, free_wiped);
}

/* ---- The store ---- */

void credentials_store_init(struct credentials_store *store, struct loop *loop)
{
    store->loop = loop;
    LIST_INIT(&store->sources);
}

void credentials_store_close(struct credentials_store *store)
{
    store->loop = NULL;
}

static bool same_string(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static struct credentials_source *find_source(struct credentials_store *store, const struct config_sign *sign)
{
    struct credentials_source *source;
    LIST_FOREACH (source, &store->sources, link) {
        if (source->load.kind == sign->credentials &&
            same_string(source->load.file, sign->credentials_file) &&
            same_string(source->load.profile, sign->profile)) {
            return source;
        }
    }
    return NULL;
}

struct credentials_source *credentials_source_get(struct credentials_store *store,
                                                  const struct config_sign *sign)
{
    struct credentials_source *source = find_source(store, sign);
    if (source != NULL) {
        source->users++;
        return source;
    }
    source = calloc(1, sizeof *source);
    if (source == NULL) {
        return NULL;
    }
    if (credentials_load_init(&source->load, store->loop, sign, load_came, source) != 0) {
        free(source);
        return NULL;
    }
    source->loop = store->loop;
    source->users = 1;
    source->lines = (struct log_limit)LOG_LIMIT_INIT(1, 4);
    TAILQ_INIT(&source->waiters);
    LIST_INSERT_HEAD(&store->sources, source, link);
    return source;
}

void credentials_source_put(struct credentials_source *source)
{
    if (source == NULL || --source->users > 0) {
        return;
    }
    LIST_REMOVE(source, link);
    credentials_load_release(&source->load);
    credentials_keys_release(&source->found.keys);
    free(source);
}

/* ---- What is told ---- */

static void tell(struct credentials_source *source, enum health health)
{
    static const struct {
        enum log_level level;
        const char *event, *advice;
    } lines[] = {
        [HEALTH_GOOD] = {LOG_LEVEL_INFO, "credentials are there", NULL},
        [HEALTH_OLD] = {LOG_LEVEL_WARN, "credentials not renewed", "the old ones serve until they expire"},
        [HEALTH_NONE] = {LOG_LEVEL_ERROR, "credentials unavailable", "requests that need them are refused"},
    };
    static const char *const places[] = {[CONFIG_CREDENTIALS_AUTO] = "auto",
                                         [CONFIG_CREDENTIALS_ENV] = "env",
                                         [CONFIG_CREDENTIALS_FILE] = "file",
                                         [CONFIG_CREDENTIALS_CONTAINER] = "container",
                                         [CONFIG_CREDENTIALS_INSTANCE] = "instance"};
    struct log_line line;
    if (source->health == health) {
        return;
    }
    source->health = health;
    log_begin_limited(&line, &source->lines, lines[health].level, lines[health].event);
    log_str(&line, "credentials", places[health == HEALTH_GOOD ? source->found.from : source->load.kind]);
    log_str(&line, "detail", health == HEALTH_GOOD ? NULL : source->why.text);
    log_str(&line, "consequence", lines[health].advice);
    log_end(&line);
}

/* ---- Loading ---- */

static bool expired(const struct credentials_found *found)
{
    return found->keys.expires != 0 && (uint64_t)found->keys.expires * 1000 <= credentials_now_ms();
}

static void drop(struct credentials_source *source)
{
    credentials_keys_release(&source->found.keys);
    source->have = false;
}

static void plan_refresh(struct credentials_source *source)
{
    if (source->found.keys.expires == 0) {
        source->refresh_at = UINT64_MAX;
        return;
    }
    uint64_t end = (uint64_t)source->found.keys.expires * 1000;
    uint64_t now = credentials_now_ms();
    uint64_t life_ms = end > now ? end - now : 0;
    uint64_t lead = life_ms / 4 < LEAD_MAX_MS ? life_ms / 4 : LEAD_MAX_MS;
    lead = lead / 2 + arc4random_uniform((uint32_t)(lead / 2) + 1);
    source->refresh_at = end - lead;
}

static void succeed(struct credentials_source *source, struct credentials_found *found)
{
    drop(source);
    source->found = *found;
    source->have = true;
    source->failures = 0;
    source->retry_at = 0;
    plan_refresh(source);
    tell(source, HEALTH_GOOD);
}

static void fail(struct credentials_source *source, const struct error *err)
{
    uint64_t pause = PAUSE_MIN_MS << (source->failures < 8 ? source->failures : 8);
    pause = pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
    source->failures++;
    source->retry_at = loop_now(source->loop) + pause / 2 + arc4random_uniform((uint32_t)(pause / 2) + 1);
    source->why = *err;
    tell(source, source->have ? HEALTH_OLD : HEALTH_NONE);
}

/* Keys that have expired before they came are none. */
static int judge(struct credentials_found *found, struct error *err)
{
    if (!expired(found)) {
        return 0;
    }
    credentials_keys_release(&found->keys);
    return error_set(err, -EKEYEXPIRED,
                     "the credentials that came have expired already; see that this machine's time is right");
}

/* 0: they are there; 1: they will come; negative: there are none, for the reason in `err`. */
static int begin_load(struct credentials_source *source, struct error *err)
{
    struct credentials_found found = {.from = source->load.kind};
    int rv = credentials_load_start(&source->load, &found, err);
    source->loading = rv == 1;
    rv = rv == 0 ? judge(&found, err) : rv;
    if (rv == 0) {
        succeed(source, &found);
    } else if (rv < 0) {
        fail(source, err);
        source->retry_at = 0; /* nobody was asked who has to be spared */
    }
    return rv;
}

/* Those that wait now; who joins while they are told finds keys, or a pause. */
static void wake(struct credentials_source *source)
{
    struct credentials_waiter *waiter;
    source->users++;
    for (unsigned count = source->waiting; count > 0; count--) {
        waiter = TAILQ_FIRST(&source->waiters);
        if (waiter == NULL) {
            break;
        }
        struct aws_credentials view = credentials_keys_view(&source->found.keys);
        credentials_cancel(waiter);
        waiter->cb(waiter->data, source->have ? &view : NULL, &source->why);
    }
    credentials_source_put(source);
}

static void load_came(void *data, struct credentials_found *found, const struct error *err)
{
    struct credentials_source *source = data;
    struct error own = ERROR_INIT;
    source->loading = false;
    if (source->have && expired(&source->found)) {
        drop(source);
    }
    if (found != NULL && judge(found, &own) == 0) {
        succeed(source, found);
    } else {
        fail(source, found != NULL ? &own : err);
    }
    wake(source);
}

/* ---- Asking ---- */

/* What is kept and no longer good is dropped, and what will not be for long is renewed. */
static void look_after(struct credentials_source *source)
{
    struct error ignored;
    if (!source->have) {
        return;
    }
    if (expired(&source->found) || credentials_load_changed(&source->load, source->found.from)) {
        drop(source);
        return;
    }
    bool due = credentials_now_ms() >= source->refresh_at;
    if (due && !source->loading && loop_now(source->loop) >= source->retry_at) {
        (void)!begin_load(source, &ignored);
    }
}

/* The environment of a process stays what it is, and a file is looked at each time. */
static bool are_of_an_endpoint(const struct credentials_source *source)
{
    return source->have && (source->found.from == CONFIG_CREDENTIALS_CONTAINER ||
                            source->found.from == CONFIG_CREDENTIALS_INSTANCE);
}

void credentials_refused(struct credentials_source *source)
{
    uint64_t now = credentials_now_ms();
    if (are_of_an_endpoint(source) && now - source->refused_at >= CREDENTIALS_REFUSED_EACH_MS) {
        source->refused_at = now;
        source->refresh_at = 0;
        look_after(source);
    }
}

static int wait_for(struct credentials_source *source, struct credentials_waiter *waiter, credentials_cb cb,
                    void *data)
{
    *waiter = (struct credentials_waiter){.source = source, .cb = cb, .data = data};
    TAILQ_INSERT_TAIL(&source->waiters, waiter, link);
    source->waiting++;
    return 1;
}

int credentials_ask(struct credentials_source *source, struct credentials_waiter *waiter, credentials_cb cb,
                    void *data, struct aws_credentials *ret, struct error *err)
{
    look_after(source);
    if (!source->have && !source->loading) {
        if (loop_now(source->loop) < source->retry_at) {
            tell(source, HEALTH_NONE);
            return error_set(err, -EAGAIN, "%s", source->why.text);
        }
        int rv = begin_load(source, err);
        if (rv < 0) {
            return rv;
        }
    }
    if (!source->have) {
        return wait_for(source, waiter, cb, data);
    }
    *ret = credentials_keys_view(&source->found.keys);
    return 0;
}

void credentials_cancel(struct credentials_waiter *waiter)
{
    struct credentials_source *source = waiter->source;
    if (source != NULL) {
        TAILQ_REMOVE(&source->waiters, waiter, link);
        source->waiting--;
        waiter->source = NULL;
    }
}

unsigned credentials_retry_after_s(const struct credentials_source *source)
{
    uint64_t now = loop_now(source->loop);
    return source->retry_at > now ? (unsigned)((source->retry_at - now + 999) / 1000) : 1;
}
