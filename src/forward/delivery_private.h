/* One route's deliveries (delivery.c), and one record's (delivery_slot.c). */
#ifndef POSTERN_FORWARD_DELIVERY_PRIVATE_H
#define POSTERN_FORWARD_DELIVERY_PRIVATE_H

#include "forward/delivery.h"
#include "forward/intake.h"
#include "forward/throttle.h"

/* Bytes of an answer's body that are read and dropped, so that the connection can be kept. */
#define SLOT_ANSWER_MAX ((uint64_t)64 * 1024)

/* What is added to a request's head at the intake is not to put it over the route's bounds: a key and a host; and a blank behind
 * each field's colon, which comes on top of this. */
#define SLOT_HEAD_MORE   1024U
#define SLOT_FIELDS_MORE 4U

enum slot_state {
    SLOT_WAITING, /* for a record */
    SLOT_SENDING, /* its exchange runs */
};

/* From the take to the verdict. One allocation, freed at the verdict. */
struct slot {
    enum slot_state state;
    struct delivery *of;
    struct spool_take *take;
    bool probe; /* the only one, while the upstream seems to be down */

    /* SENDING. */
    struct config *config; /* one reference */
    const struct config_route *route;
    struct http_rules rules; /* the route's, with more room; owns nothing */
    struct http_request request;
    struct intake_origin origin;
    struct http_values values;
    struct exchange exchange;
    struct verdict_attempt attempt;
    struct error err; /* the body is damaged */
    const char *piece;
    size_t piece_left;
    bool last;    /* the piece is */
    bool ended;   /* exchange_body_end() was called */
    bool reading; /* a piece of the body is asked for */
    uint64_t dropped;
    uint64_t began_at;
    LIST_ENTRY(slot) link;
};

struct delivery {
    struct deliveries *set;
    struct config *config;            /* one reference: the newest; NULL: the route is none any more */
    const struct config_route *route; /* in it */
    char name[CONFIG_NAME_MAX + 1];
    struct throttle throttle;
    unsigned waiting, sending;
    bool closing;
    uv_timer_t timer; /* runs: no record is taken until then */
    LIST_HEAD(, slot) slots;
    LIST_ENTRY(delivery) link;
};

/* Asks for a record. Returns 0 or a negative errno value. */
int slot_start(struct delivery *delivery, bool probe) MUST_CHECK;

/* WAITING: gives up; the memory is gone. */
void slot_release(struct slot *slot);

/* SENDING: cuts it off; the verdict follows from the loop. */
void slot_cut(struct slot *slot);

/* What slots tell their delivery. */
void delivery_took(struct slot *slot);
void delivery_ended(struct slot *slot, const struct verdict *verdict); /* frees it */

#endif
