/*
 * Streams that do as a test tells them: no sockets, no loop. What is to be read, and how much is taken by
 * each write, is given beforehand, step by step; what was done is there to be looked at afterwards.
 */
#ifndef POSTERN_TESTS_SCRIPT_STREAM_H
#define POSTERN_TESTS_SCRIPT_STREAM_H

#include "net/pipe_pool.h"
#include "net/stream.h"
#include <stddef.h>

#define SCRIPT_STEPS  64
#define SCRIPT_MEMORY 65536

struct script_stream {
    struct stream stream;
    /* Reads: each step gives that many bytes, 0 for the end, or a negative errno value. After the
     * last: EAGAIN. */
    ssize_t reads[SCRIPT_STEPS];
    unsigned read_count, read_next;
    unsigned char next_byte; /* what is read counts up from here, so that order and loss can be seen */
    /* Writes: each step takes at most that many bytes, or fails. After the last: everything is taken. */
    ssize_t writes[SCRIPT_STEPS];
    unsigned write_count, write_next;
    unsigned char wanted_byte; /* what is written must count up from here */
    size_t written;
    int finish_result;
    unsigned finished, again, awaited, closed;
    unsigned char memory[SCRIPT_MEMORY]; /* of a stream that lends it */
    struct pipe *pipe;                   /* what of that comes first, until it is empty */
};

void script_init(struct script_stream *script);
/* Bytes to be read lie in its memory and are lent, and so is the room for bytes that are written; the same steps tell how
 * many. */
void script_lends(struct script_stream *script);

void script_reads(struct script_stream *script, ssize_t step);
void script_writes(struct script_stream *script, ssize_t step);

#endif
