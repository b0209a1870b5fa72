/* Request ids: see ids.h. */
#include "forward/ids.h"

#include <errno.h>
#include <sys/random.h>

#define ODD 0x9e3779b97f4a7c15U /* no number comes again before all have come */

int forward_ids_init(struct forward_ids *ids)
{
    ids->used = 0;
    return getrandom(ids->pool, sizeof ids->pool, 0) == sizeof ids->pool ? 0 : -EIO;
}

/* A generator that gave once does not fail. If it does, the ids are unique still, if no secret. */
static void refill(struct forward_ids *ids)
{
    if (forward_ids_init(ids) == 0) {
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(ids->pool); i++) {
        ids->pool[i] += ODD;
    }
}

static void write_hex(uint64_t number, char ret[16])
{
    for (unsigned i = 0; i < 16; i++, number >>= 4) {
        ret[i] = "0123456789abcdef"[number & 0xf];
    }
}

/* By hand, since every request has one: snprintf() takes a twentieth of all that is done for it. */
void forward_ids_next(struct forward_ids *ids, char ret[FORWARD_ID_SIZE])
{
    if (ids->used == ARRAY_SIZE(ids->pool)) {
        refill(ids);
    }
    write_hex(ids->pool[ids->used], ret);
    write_hex(ids->pool[ids->used + 1], ret + 16);
    ret[FORWARD_ID_SIZE - 1] = '\0';
    ids->used += 2;
}
