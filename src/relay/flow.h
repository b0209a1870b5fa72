/*
 * One direction of a relay: bytes from one stream to another, in order, untouched, none lost and none
 * made up, with the source's end passed on as a half-close.
 *
 *     source --read--> [ scratch ] --write--> sink         few bytes: copied, and nothing is kept
 *                          |  what the sink did not take
 *                          v
 *                      [ held ]    --write--> sink         the source is not read until it is gone
 *
 *     source --splice--> [ pipe ] --splice--> sink         bulk: the bytes stay in the kernel
 *
 *     source --write--> sink, or source --read--> sink        where a stream lends its own memory (see
 *     source's pipe --splice--> sink                          stream.h), or a pipe: nothing is held here at all
 *
 * At most one of `held` and `pipe` holds bytes. Both are attached only while they do, so an idle flow
 * costs this struct alone, and a stalled one at most FLOW_CHUNK_MAX bytes or one pipe.
 */
#ifndef POSTERN_RELAY_FLOW_H
#define POSTERN_RELAY_FLOW_H

#include "base/compiler.h"
#include "net/pipe_pool.h"
#include "net/stream.h"
#include <stdbool.h>
#include <stdint.h>

#define FLOW_CHUNK_MIN 16384u   /* read at first, and again after the sink was slow */
#define FLOW_CHUNK_MAX 65536u   /* read once chunks come full; also the most that is ever held */
#define FLOW_TURN      1048576u /* bytes after which other streams have their turn */

enum flow_result {
    FLOW_WAITING,       /* for the source to have more, or the sink to take more: a report will come */
    FLOW_TIRED,         /* its turn is over and there is more: ask for a report with stream_again() */
    FLOW_FINISHED,      /* the source ended, all was delivered, and the sink was told */
    FLOW_SOURCE_FAILED, /* the source was aborted; what came before was delivered */
    FLOW_SINK_FAILED,   /* the sink takes no more; what was not delivered is lost */
    FLOW_NO_MEMORY,
};

struct flow {
    struct stream *from, *to;
    uint64_t bytes;      /* delivered */
    unsigned char *held; /* owned; NULL as a rule */
    uint32_t held_at;    /* held[held_at..held_length) is still to be delivered */
    uint32_t held_length;
    struct pipe *pipe; /* lent; NULL as a rule */
    uint32_t chunk;
    bool bulk;     /* chunks come full: splice if both streams can */
    bool ended;    /* the source has ended */
    bool finished; /* and all was delivered, and the sink was told */
    bool blocked;  /* the sink did not take all that was there for it: its report is waited for */
    bool last;     /* the other direction is done: the close that follows tells the sink of the end */
    bool broken;   /* the sink takes no more: not to be run again */
};

struct flow_tools {
    unsigned char *scratch; /* FLOW_CHUNK_MAX bytes */
    struct pipe_pool *pipes;
};

void flow_init(struct flow *flow, struct stream *from, struct stream *to);

/* Gives up what is held. */
void flow_release(struct flow *flow, const struct flow_tools *tools);

/* Bytes that were read before the flow began, delivered first. Takes over `data` (malloc). */
void flow_preload(struct flow *flow, unsigned char *data, uint32_t length);

/* Moves what can be moved now. Not to be called again once it said FINISHED or FAILED. */
enum flow_result flow_run(struct flow *flow, const struct flow_tools *tools) MUST_CHECK;

/* Whether there is nothing left for it to do. */
static inline bool flow_is_over(const struct flow *flow)
{
    return flow->finished || flow->broken;
}

#endif
