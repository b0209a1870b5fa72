/* The lists of counters: made by name, in order, and kept. */
#include "daemon/counters.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

const unsigned histogram_bucket_ms[HISTOGRAM_BUCKETS] = HISTOGRAM_BUCKETS_INIT;

static const uint32_t session_codes[] = {
#define X(id, number, word) (number),
    CODE_TABLE(X)
#undef X
};

void counters_init(struct counters *counters)
{
    *counters = (struct counters){.start_time_s = (uint64_t)time(NULL)};
}

/* The name lies behind the entry, in the same piece of memory. */
static void *new_entry(size_t size, const char *name, const char **ret_name)
{
    size_t length = strlen(name) + 1;
    char *entry = calloc(1, size + length);
    if (entry != NULL) {
        *ret_name = memcpy(entry + size, name, length);
    }
    return entry;
}

/* The three lists differ in nothing but the type of their entries. */
#define DEFINE_LIST(kind)                                                                \
    struct kind##_counters *counters_##kind(struct counters *counters, const char *name) \
    {                                                                                    \
        struct kind##_counters **link = &counters->kind##s;                              \
        for (; *link != NULL; link = &(*link)->next) {                                   \
            if (strcmp((*link)->name, name) == 0) {                                      \
                return *link;                                                            \
            }                                                                            \
        }                                                                                \
        const char *kept;                                                                \
        struct kind##_counters *entry = new_entry(sizeof **link, name, &kept);           \
        if (entry != NULL) {                                                             \
            entry->name = kept;                                                          \
            *link = entry;                                                               \
        }                                                                                \
        return entry;                                                                    \
    }                                                                                    \
                                                                                         \
    static void release_##kind##s(struct counters *counters)                             \
    {                                                                                    \
        while (counters->kind##s != NULL) {                                              \
            struct kind##_counters *next = counters->kind##s->next;                      \
            free(counters->kind##s);                                                     \
            counters->kind##s = next;                                                    \
        }                                                                                \
    }

DEFINE_LIST(route)
DEFINE_LIST(enclave)
DEFINE_LIST(listener)

void counters_refuse(struct listener_counters *listener, enum reason why)
{
    counter_add(&listener->refused, 1);
    counter_add(&listener->denied, reason_kind(why) == REASON_KIND_POLICY);
}

bool counters_requests(struct route_counters *route)
{
    if (route->requests == NULL) {
        route->requests = calloc(1, sizeof *route->requests);
    }
    return route->requests != NULL;
}

void counters_release(struct counters *counters)
{
    for (struct route_counters *route = counters->routes; route != NULL; route = route->next) {
        free(route->requests);
    }
    release_routes(counters);
    release_enclaves(counters);
    release_listeners(counters);
}

void histogram_add(struct histogram *histogram, uint64_t microseconds)
{
    unsigned bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS && microseconds > (uint64_t)histogram_bucket_ms[bucket] * 1000) {
        bucket++;
    }
    counter_add(&histogram->bucket[bucket], 1);
    counter_add(&histogram->sum_us, microseconds);
    counter_add(&histogram->count, 1);
}

enum session_code session_code(uint32_t code)
{
    for (unsigned i = 0; i < ARRAY_SIZE(session_codes); i++) {
        if (session_codes[i] == code) {
            return (enum session_code)i;
        }
    }
    return SESSION_CODE_OTHER;
}

const char *session_code_word(enum session_code code)
{
    return code < SESSION_CODE_OTHER ? code_word(session_codes[code]) : "other";
}

const char *open_refusal_word(unsigned index)
{
    return index < REASON_COUNT ? reason_word((enum reason)index) : code_word(CODE_UNSUPPORTED);
}
