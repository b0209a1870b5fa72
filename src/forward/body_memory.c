/* The memory of bodies: see body_memory.h. */
#include "forward/body_memory.h"

#include <stdlib.h>

struct body_holder {
    uint32_t asker;
    uint64_t held; /* bytes, of all its grants; never 0 */
    LIST_ENTRY(body_holder) link;
};

int body_memory_init(struct body_memory *memory)
{
    memory->limit = memory->used = 0;
    LIST_INIT(&memory->holders);
    return uv_mutex_init(&memory->lock);
}

void body_memory_close(struct body_memory *memory)
{
    uv_mutex_destroy(&memory->lock);
}

void body_memory_set_limit(struct body_memory *memory, uint64_t limit)
{
    uv_mutex_lock(&memory->lock);
    memory->limit = limit;
    uv_mutex_unlock(&memory->lock);
}

uint64_t body_memory_used(struct body_memory *memory)
{
    uv_mutex_lock(&memory->lock);
    uint64_t used = memory->used;
    uv_mutex_unlock(&memory->lock);
    return used;
}

/* NULL: out of memory. */
static struct body_holder *find_holder(struct body_memory *memory, uint32_t asker)
{
    struct body_holder *holder;
    LIST_FOREACH (holder, &memory->holders, link) {
        if (holder->asker == asker) {
            return holder;
        }
    }
    holder = calloc(1, sizeof *holder);
    if (holder != NULL) {
        holder->asker = asker;
        LIST_INSERT_HEAD(&memory->holders, holder, link);
    }
    return holder;
}

static void let_go(struct body_holder *holder)
{
    if (holder->held == 0) {
        LIST_REMOVE(holder, link);
        free(holder);
    }
}

/* None of the sums passes 2^64: a body's size is far from it, and so is what was granted, being memory. */
static bool is_fair(const struct body_memory *memory, const struct body_holder *holder, size_t more)
{
    uint64_t used = memory->used + more;
    return used <= memory->limit && holder->held + more <= memory->limit - used;
}

static bool take(struct body_memory *memory, struct body_grant *grant, uint32_t asker, size_t more)
{
    struct body_holder *holder = grant->holder != NULL ? grant->holder : find_holder(memory, asker);
    if (holder == NULL) {
        return false;
    }
    if (!is_fair(memory, holder, more)) {
        let_go(holder);
        return false;
    }
    holder->held += more;
    memory->used += more;
    grant->holder = holder;
    grant->size += more;
    return true;
}

bool body_memory_grow(struct body_memory *memory, struct body_grant *grant, uint32_t asker, size_t size)
{
    if (size <= grant->size) {
        return true;
    }
    uv_mutex_lock(&memory->lock);
    bool granted = take(memory, grant, asker, size - grant->size);
    uv_mutex_unlock(&memory->lock);
    return granted;
}

void body_memory_give(struct body_memory *memory, struct body_grant *grant)
{
    if (grant->holder == NULL) {
        return;
    }
    uv_mutex_lock(&memory->lock);
    grant->holder->held -= grant->size;
    memory->used -= grant->size;
    let_go(grant->holder);
    uv_mutex_unlock(&memory->lock);
    *grant = (struct body_grant){.size = 0};
}
