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

/* By hand, since every request has one: snprintf() takes a twentieth of all that is done for it. */
void forward_ids_next(struct forward_ids *ids, char ret[FORWARD_ID_SIZE])
{
    if (ids->used == ARRAY_SIZE(ids->pool)) {
        refill(ids);
    }
    for (unsigned i = 0; i < FORWARD_ID_SIZE - 1; i++) {
        ret[i] = "0123456789abcdef"[ids->pool[ids->used + i / 16] >> (4 * (i % 16)) & 0xf];
    }
    ret[FORWARD_ID_SIZE - 1] = '\0';
    ids->used += 2;
}
