/* Addresses that were of no use lately: see avoid.h. */
#include "net/avoid.h"

#include "base/compiler.h"
#include <string.h>

static bool same(const struct sockaddr_any *a, const struct sockaddr_any *b)
{
    return a->length == b->length && memcmp(&a->u, &b->u, a->length) == 0;
}

void avoid_note(struct avoid *avoid, const struct sockaddr_any *address, uint64_t now)
{
    unsigned place = 0;
    for (unsigned i = 0; i < AVOID_MAX; i++) {
        if (avoid->list[i].until != 0 && same(&avoid->list[i].address, address)) {
            place = i;
            break;
        }
        if (avoid->list[i].until < avoid->list[place].until) {
            place = i;
        }
    }
    avoid->list[place].address = *address;
    avoid->list[place].until = now + AVOID_MS;
}

void avoid_forget(struct avoid *avoid, const struct sockaddr_any *address)
{
    for (unsigned i = 0; i < AVOID_MAX; i++) {
        if (avoid->list[i].until != 0 && same(&avoid->list[i].address, address)) {
            avoid->list[i].until = 0;
        }
    }
}

static bool has(const struct avoid *avoid, const struct sockaddr_any *address, uint64_t now)
{
    for (unsigned i = 0; i < AVOID_MAX; i++) {
        if (avoid->list[i].until > now && same(&avoid->list[i].address, address)) {
            return true;
        }
    }
    return false;
}

/* Each that is not avoided goes before those that are and came earlier. */
void avoid_sort(const struct avoid *avoid, struct sockaddr_any *addresses, unsigned count, uint64_t now)
{
    unsigned good = 0;
    for (unsigned i = 0; i < count; i++) {
        if (has(avoid, &addresses[i], now)) {
            continue;
        }
        struct sockaddr_any moved = addresses[i];
        memmove(&addresses[good + 1], &addresses[good], (i - good) * sizeof *addresses);
        addresses[good++] = moved;
    }
}
