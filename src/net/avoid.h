/*
 * Addresses that were of no use lately: could not be connected to, did not answer while another one did, or had no TLS to
 * offer. As long as the name has others, those are tried first. None is ever left out: what is known of it may be wrong by now.
 *
 * Pure; all zero it knows of none. What does not fit takes the place of what is forgotten first anyway.
 */
#ifndef POSTERN_NET_AVOID_H
#define POSTERN_NET_AVOID_H

#include "net/addr.h"
#include <stdint.h>

#define AVOID_MAX 8
#define AVOID_MS  30000

struct avoid {
    struct {
        struct sockaddr_any address;
        uint64_t until; /* the caller's clock, ms; 0: none */
    } list[AVOID_MAX];
};

void avoid_note(struct avoid *avoid, const struct sockaddr_any *address, uint64_t now);
void avoid_forget(struct avoid *avoid, const struct sockaddr_any *address);

/* Has those that are known come last; of each kind in the order that they had. */
void avoid_sort(const struct avoid *avoid, struct sockaddr_any *addresses, unsigned count, uint64_t now);

#endif
