/* What resolvers share: see resolve_common.h. */
#include "net/resolve_common.h"
#include <stdlib.h>
#include <string.h>

static bool copy_string(const char **string)
{
    if (*string != NULL) {
        *string = strdup(*string);
    }
    return *string != NULL;
}

static void free_common(struct resolve_common *common)
{
    cache_clear(&common->cache);
    free((char *)common->options.servers);
    free((char *)common->options.resolv_conf);
    free(common);
}

struct resolve_common *resolve_common_new(const struct resolver_options *options,
                                          struct resolver_stats *stats)
{
    struct resolve_common *common = calloc(1, sizeof(*common));

    if (common == NULL) {
        return NULL;
    }
    common->options = *options;
    common->stats = stats;
    cache_init(&common->cache, &common->options, &stats->cached);
    bool servers = copy_string(&common->options.servers) || options->servers == NULL;
    bool resolv_conf = copy_string(&common->options.resolv_conf) || options->resolv_conf == NULL;
    if (servers && resolv_conf && uv_mutex_init(&common->lock) == 0) {
        return common;
    }
    free_common(common);
    return NULL;
}

void resolve_common_enter(struct resolve_common *common)
{
    uv_mutex_lock(&common->lock);
    common->members++;
    uv_mutex_unlock(&common->lock);
}

void resolve_common_leave(struct resolve_common *common)
{
    uv_mutex_lock(&common->lock);
    bool last = --common->members == 0;
    uv_mutex_unlock(&common->lock);
    if (!last) {
        return;
    }
    uv_mutex_destroy(&common->lock);
    free_common(common);
}

/* There are as many as enclaves ask at once, so few. NULL: out of memory. */
static struct resolve_asker *find_asker(struct resolve_common *common, uint32_t id)
{
    struct resolve_asker *asker;

    LIST_FOREACH (asker, &common->askers, link) {
        if (asker->id == id) {
            return asker;
        }
    }
    asker = calloc(1, sizeof(*asker));
    if (asker != NULL) {
        asker->id = id;
        LIST_INSERT_HEAD(&common->askers, asker, link);
    }
    return asker;
}

enum reason resolve_common_take_place(struct resolve_common *common, uint32_t id, struct resolve_asker **ret)
{
    *ret = NULL;
    if (common->queries >= RESOLVE_QUERIES_MAX) {
        return REASON_LIMIT_DAEMON;
    }
    if (id != 0) {
        struct resolve_asker *asker = find_asker(common, id);
        if (asker == NULL) {
            return REASON_NO_MEMORY;
        }
        if (asker->queries >= RESOLVE_SHARE_MAX) {
            return REASON_LIMIT_ENCLAVE;
        }
        asker->queries++;
        *ret = asker;
    }
    common->queries++;
    return REASON_NONE;
}

void resolve_common_give_place(struct resolve_common *common, struct resolve_asker *asker)
{
    common->queries--;
    if (asker != NULL && --asker->queries == 0) {
        LIST_REMOVE(asker, link);
        free(asker);
    }
}
