/* The books of the spool. */
#include "spool/tally.h"

#include <stdlib.h>
#include <string.h>

void tallies_init(struct tallies *tallies)
{
    SLIST_INIT(&tallies->all);
    SLIST_INIT(&tallies->touched);
}

static void destroy(struct tally *tally)
{
    free(tally->route);
    free(tally->enclave);
    free(tally);
}

void tallies_release(struct tallies *tallies)
{
    while (!SLIST_EMPTY(&tallies->all)) {
        struct tally *tally = SLIST_FIRST(&tallies->all);

        SLIST_REMOVE_HEAD(&tallies->all, link);
        destroy(tally);
    }
    SLIST_INIT(&tallies->touched);
}

struct tally *tallies_get(struct tallies *tallies, const char *route, const char *enclave)
{
    struct tally *tally;

    SLIST_FOREACH (tally, &tallies->all, link) {
        if (strcmp(tally->route, route) == 0 && strcmp(tally->enclave, enclave) == 0) {
            return tally;
        }
    }
    tally = calloc(1, sizeof(*tally));
    if (!tally) {
        return NULL;
    }
    tally->route = strdup(route);
    tally->enclave = strdup(enclave);
    if (!tally->route || !tally->enclave) {
        destroy(tally);
        return NULL;
    }
    SLIST_INSERT_HEAD(&tallies->all, tally, link);
    return tally;
}

void tallies_change(struct tallies *tallies, struct tally *tally, enum spool_state state, int64_t records,
                    int64_t bytes)
{
    tally->changes[state].records += records;
    tally->changes[state].bytes += bytes;
    if (tally->touched) {
        return;
    }
    tally->touched = true;
    SLIST_INSERT_HEAD(&tallies->touched, tally, touched_link);
}

static void settle(struct tallies *tallies, bool keep)
{
    while (!SLIST_EMPTY(&tallies->touched)) {
        struct tally *tally = SLIST_FIRST(&tallies->touched);

        SLIST_REMOVE_HEAD(&tallies->touched, touched_link);
        tally->touched = false;
        for (int i = 0; i < SPOOL_STATES; i++) {
            tally->counts[i].records += keep ? tally->changes[i].records : 0;
            tally->counts[i].bytes += keep ? tally->changes[i].bytes : 0;
            tally->changes[i] = (struct tally_count){0, 0};
        }
    }
}

void tallies_fold(struct tallies *tallies)
{
    settle(tallies, true);
}

void tallies_forget(struct tallies *tallies)
{
    settle(tallies, false);
}

uint64_t tallies_used(const struct tallies *tallies, const char *route, const char *enclave)
{
    const struct tally *tally;
    uint64_t used = 0;

    SLIST_FOREACH (tally, &tallies->all, link) {
        if ((route && strcmp(tally->route, route) != 0) ||
            (enclave && strcmp(tally->enclave, enclave) != 0)) {
            continue;
        }
        used += tally->incoming;
        for (int i = 0; i < SPOOL_STATES; i++) {
            used += tally->counts[i].bytes > 0 ? (uint64_t)tally->counts[i].bytes : 0;
        }
    }
    return used;
}
