/*
 * A session on a loop: see session_io.h.
 *
 * Everything runs from on_ready(), the socket's reports, or on_timer(); what others do with channels in between only asks
 * for a report (session_io_wake()). So the session's functions that tell of events never meet themselves, and
 * attend() sees each change of state.
 *
 * Ends: attend() notices that the session is over; part() closes when all was said and heard, or on_timer() when that took
 * too long. The timer is what is left then: it waits for the last stream, and from its closing
 * callback ended() comes.
 */
#include "framed/framed_private.h"

#include "net/sock.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* Measured: writes gain by being twice as large, reads lose (docs/performance.md). */
#define READ_SIZE 65536u

#define LEAVE_MS 1u /* a timer of 0 ms could fire before the streams' owners have heard of their ends */

static uint64_t now_of(const struct session_io *io)
{
    return loop_now(io->loop);
}

static void give_back(struct session_io *io, unsigned char **buffer)
{
    if (*buffer != NULL) {
        loop_take_back(io->loop, *buffer);
        *buffer = NULL;
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct session_io *io = handle->data;
    struct session *session = io->session;
    struct session_end end = io->end;
    io->ops->ended(io, &end); /* the owner may free it */
    session_free(session);
}

static void on_timer(uv_timer_t *timer);

static void set_timer(struct session_io *io, uint64_t at)
{
    uint64_t now = now_of(io);
    io->timer_at = at;
    uv_timer_start(&io->timer, on_timer, at > now ? at - now : 0, 0);
}

/* A deadline that moved away is not followed: the timer finds out when it fires, and waits for the rest. */
static void arm(struct session_io *io)
{
    uint64_t at = SESSION_NEVER;
    if (io->state == SESSION_IO_OPEN) {
        at = session_next_deadline(io->session);
    } else if (io->state == SESSION_IO_PARTING) {
        at = io->linger_by;
    } else if (io->streams == 0 || !TAILQ_EMPTY(&io->again)) {
        at = now_of(io) + LEAVE_MS;
    }
    if (at < io->timer_at) {
        set_timer(io, at);
    }
}

static void close_socket(struct session_io *io, bool abort)
{
    sock_stream_close(&io->sock, abort);
    give_back(io, &io->in);
    give_back(io, &io->out);
    io->state = SESSION_IO_CLOSED;
    uv_timer_stop(&io->timer);
    io->timer_at = SESSION_NEVER;
    arm(io);
}

/* Nothing more comes. After an error nothing more goes, either. */
static void hear_end(struct session_io *io, ssize_t n)
{
    io->heard = true;
    if (n != 0) {
        io->cut = true;
        give_back(io, &io->out);
    }
    if (!session_is_over(io->session)) {
        session_receive_end(io->session, now_of(io));
    }
}

/* Reads once. -EAGAIN: nothing is there. Where a write has failed and a read does not, bytes are lost all the same. */
static ssize_t read_once(struct session_io *io, unsigned char *to, size_t size)
{
    ssize_t n = stream_read(&io->sock.stream, to, size);
    if (n <= 0 && (n != -EAGAIN || io->cut)) {
        hear_end(io, n);
    }
    return n;
}

/* What comes after the session is over. False: nothing for now. */
static bool discard(struct session_io *io, size_t *moved)
{
    give_back(io, &io->in);
    ssize_t n = read_once(io, io->loop->scratch, LOOP_SCRATCH_SIZE);
    *moved += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* How much is to be read: as a rule, much. While large payloads come, up to where the next one begins, so that it can go past the
 * session. */
static uint32_t next_read(const struct session_io *io)
{
    struct channel *channel;
    size_t left = session_expects(io->session, &channel);
    return io->lean == 0 ? READ_SIZE : (uint32_t)left + FRAME_HEADER;
}

/* False: nothing is there to be looked at. */
static bool fetch(struct session_io *io)
{
    unsigned char *in = loop_lend(io->loop);
    if (in == NULL) {
        session_abort(io->session, CODE_INTERNAL, "out of memory");
        stream_again(&io->sock.stream, STREAM_READABLE);
        return false;
    }
    io->asked = next_read(io);
    ssize_t n = read_once(io, in, io->asked);
    if (n <= 0) {
        loop_take_back(io->loop, in);
        return false;
    }
    io->in = in;
    io->in_at = 0;
    io->in_length = (uint32_t)n;
    io->fresh = true;
    io->lean -= io->lean > 0;
    return true;
}

/* A short count means that the socket is empty, as a rule (see stream.h). Of what was read in an earlier turn it means
 * nothing: more may have come since, and the report of that is over. */
static bool drained(const struct session_io *io)
{
    const struct stream *stream = &io->sock.stream;
    return io->fresh && io->in_length < io->asked && !stream->hung_up && !stream->patchy && !io->cut;
}

/* Gives the session what was read. False: there is no more for now. */
static bool take(struct session_io *io, size_t *moved)
{
    if (io->in == NULL && !fetch(io)) {
        return false;
    }
    size_t taken = session_receive(io->session, now_of(io), io->in + io->in_at, io->in_length - io->in_at);
    if (io->lent) {
        io->lent = false;
        channel_stream_run_due(io);
    }
    *moved += taken;
    io->in_at += (uint32_t)taken;
    if (io->in_at < io->in_length) {
        return true;
    }
    give_back(io, &io->in);
    return !drained(io);
}

/* Moves what is left of a payload past the session, where that pays. False: it has to be read. */
static bool pass(struct session_io *io, size_t *moved)
{
    struct channel *channel;
    size_t left = session_expects(io->session, &channel);
    if (left == 0 || io->in != NULL || !channel_stream_passes(io, channel, left)) {
        return false;
    }
    bool large = left >= PASS_MIN;
    size_t passed = channel_stream_pass(io, channel, left);
    if (passed == 0) { /* its pipe may be full */
        channel_stream_run_due(io);
        left = session_expects(io->session, &channel);
        passed =
            left > 0 && channel_stream_passes(io, channel, left) ? channel_stream_pass(io, channel, left) : 0;
    }
    *moved += passed;
    io->lean = passed == 0 ? 0 : large ? LEAN_READS : LEAN_READS - 1;
    return passed > 0;
}

static void receive(struct session_io *io)
{
    size_t moved = 0;
    bool more = true;
    while (more && !io->heard) {
        if (moved >= SESSION_IO_TURN || io->acts >= SESSION_IO_ACTS) {
            io->fresh = false;
            stream_again(&io->sock.stream, STREAM_READABLE);
            return;
        }
        more = session_is_over(io->session) ? discard(io, &moved) : pass(io, &moved) || take(io, &moved);
    }
}

/* As many whole writes as there is room for, where they are bounded. */
static size_t room_for_output(const struct session_io *io)
{
    size_t write = io->sock.write_max;
    if (write < SESSION_SEND_MIN || write > LOOP_BUFFER_SIZE) {
        return LOOP_BUFFER_SIZE;
    }
    return LOOP_BUFFER_SIZE / write * write;
}

/* There is no memory to hold what the socket does not take, so there may only be one write more. */
static void say_last(struct session_io *io)
{
    unsigned char last[SESSION_SEND_MIN];
    session_abort(io->session, CODE_INTERNAL, "out of memory");
    size_t length = session_send(io->session, now_of(io), last, sizeof last);
    io->cut = stream_write(&io->sock.stream, last, length) != (ssize_t)length;
}

/* Asks the session what it has to say. False: nothing. */
static bool gather(struct session_io *io)
{
    unsigned char *out = loop_lend(io->loop);
    if (out == NULL) {
        say_last(io);
        return false;
    }
    size_t length = session_send(io->session, now_of(io), out, room_for_output(io));
    if (length == 0) {
        loop_take_back(io->loop, out);
        return false;
    }
    io->out = out;
    io->out_at = 0;
    io->out_length = (uint32_t)length;
    return true;
}

/* What the peer still said is to be heard: the end is concluded from reading. */
static void write_failed(struct session_io *io)
{
    io->cut = true;
    give_back(io, &io->out);
    stream_again(&io->sock.stream, STREAM_READABLE);
}

/* Writes what there is. False: the socket takes no more for now. */
static bool write_out(struct session_io *io)
{
    ssize_t n = stream_write(&io->sock.stream, io->out + io->out_at, io->out_length - io->out_at);
    if (n < 0 && n != -EAGAIN) {
        write_failed(io);
        return false;
    }
    io->out_at += n > 0 ? (uint32_t)n : 0;
    io->full = io->out_at < io->out_length;
    if (!io->full) {
        give_back(io, &io->out);
    }
    return !io->full;
}

static void flush(struct session_io *io)
{
    size_t moved = 0;
    while (moved < SESSION_IO_TURN && !io->cut) {
        if (io->out == NULL && (!session_has_output(io->session) || !gather(io))) {
            return;
        }
        moved += io->out_length - io->out_at;
        if (!write_out(io)) {
            return;
        }
    }
}

static bool has_to_write(const struct session_io *io)
{
    return !io->cut && (io->out != NULL || session_has_output(io->session));
}

/* What is left is written, the peer is told that this was all, and it is heard to its end. */
static void part(struct session_io *io)
{
    if (!io->finished) {
        io->finished = true;
        (void)stream_finish(&io->sock.stream); /* if it fails, the peer's end is near anyway */
    }
    if (io->heard) {
        close_socket(io, false);
    }
}

/* Whatever was done, this looks at what it has led to. */
static void attend(struct session_io *io)
{
    if (io->state == SESSION_IO_OPEN && session_next_deadline(io->session) <= now_of(io)) {
        session_tick(io->session, now_of(io));
    }
    if (io->state == SESSION_IO_OPEN && session_is_over(io->session)) {
        io->state = SESSION_IO_PARTING;
        io->linger_by = now_of(io) + io->linger_ms;
    }
    if (io->state != SESSION_IO_CLOSED && has_to_write(io)) {
        session_io_wake(io);
    } else if (io->state == SESSION_IO_PARTING) {
        part(io);
    }
    arm(io);
}

static void on_ready(struct stream *stream, unsigned events)
{
    struct session_io *io = CONTAINER_OF(stream, struct session_io, sock.stream);
    io->acts = 0;
    channel_stream_next_turn(io);
    if ((events & STREAM_READABLE) != 0) {
        receive(io);
    }
    channel_stream_run_due(io);
    if ((events & STREAM_WRITABLE) != 0 && io->state != SESSION_IO_CLOSED) {
        flush(io);
    }
    attend(io);
}

static void on_timer(uv_timer_t *timer)
{
    struct session_io *io = timer->data;
    io->timer_at = SESSION_NEVER;
    if (io->state == SESSION_IO_PARTING && now_of(io) >= io->linger_by) {
        close_socket(io, true);
    } else if (io->state == SESSION_IO_CLOSED && io->streams == 0) {
        uv_close((uv_handle_t *)&io->timer, on_timer_closed);
    } else {
        io->acts = 0;
        channel_stream_next_turn(io);
        channel_stream_run_due(io);
        attend(io);
    }
}

void session_io_act(struct session_io *io)
{
    if (++io->acts >= SESSION_IO_ACTS) {
        session_yield(io->session);
    }
}

void session_io_wake(struct session_io *io)
{
    if (io->state != SESSION_IO_CLOSED && !io->full) {
        stream_again(&io->sock.stream, STREAM_WRITABLE);
    }
}

void session_io_again(struct session_io *io)
{
    if (io->state != SESSION_IO_CLOSED) {
        stream_again(&io->sock.stream, STREAM_WRITABLE);
    } else {
        arm(io);
    }
}

void session_io_leave(struct session_io *io)
{
    io->streams--;
    if (io->state == SESSION_IO_CLOSED) {
        arm(io);
    } else {
        session_io_wake(io);
    }
}

void session_io_drain(struct session_io *io, uint32_t deadline_ms)
{
    io->leaving = true;
    session_set_now(io->session, now_of(io));
    session_drain(io->session, deadline_ms);
    session_io_again(io);
}

void session_io_end(struct session_io *io, enum code code, const char *text)
{
    io->leaving = true;
    session_abort(io->session, code, text);
    session_io_again(io);
}

void session_io_hurry(struct session_io *io, uint32_t linger_ms)
{
    uint64_t by = now_of(io) + linger_ms;
    io->linger_ms = linger_ms;
    if (by < io->linger_by) {
        io->linger_by = by;
        arm(io);
    }
}

static void on_session_ready(struct session *session, const struct control_hello *peer)
{
    struct session_io *io = session_io_of(session);
    if (io->ops->ready != NULL) {
        io->ops->ready(io, peer);
    }
}

static void on_session_open(struct channel *channel, const struct control_open *open)
{
    struct session_io *io = session_io_of(channel_session(channel));
    session_io_act(io);
    io->ops->open(io, channel, open);
}

static void on_session_pong(struct session *session, uint64_t rtt_ms)
{
    struct session_io *io = session_io_of(session);
    if (io->ops->pong != NULL) {
        io->ops->pong(io, rtt_ms);
    }
}

static void on_session_ended(struct session *session, const struct session_end *end)
{
    session_io_of(session)->end = *end;
}

static const struct session_events events = {
    .ready = on_session_ready,
    .open = on_session_open,
    .data = channel_stream_on_data,
    .fin = channel_stream_on_fin,
    .reset = channel_stream_on_reset,
    .stopped = channel_stream_on_stopped,
    .failed = channel_stream_on_failed,
    .fill = channel_stream_on_fill,
    .pong = on_session_pong,
    .ended = on_session_ended,
};

/* Any seed will do that peers do not know: where the kernel has no random bytes to give yet, the clock's are some. */
static uint32_t random_seed(void)
{
    uint32_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed) {
        seed = (uint32_t)uv_hrtime();
    }
    return seed;
}

int session_io_start(struct session_io *io, struct loop *loop, const struct session_io_ops *ops,
                     const struct session_config *config, int fd, const struct sock_kind_options *kind)
{
    struct session_config seeded = *config;
    if (seeded.hash_seed == 0) {
        seeded.hash_seed = random_seed();
    }
    memset(io, 0, sizeof *io);
    io->ops = ops;
    io->loop = loop;
    io->timer_at = SESSION_NEVER;
    io->linger_ms = SESSION_IO_LINGER_MS;
    TAILQ_INIT(&io->due);
    TAILQ_INIT(&io->again);
    io->session = session_new(&seeded, &events, io, loop_now(loop));
    int rv = io->session != NULL ? sock_stream_open(&io->sock, &loop->poller, fd, kind, on_ready) : -ENOMEM;
    if (rv != 0) {
        session_free(io->session);
        sock_set_abort(fd);
        close(fd);
        return rv;
    }
    uv_timer_init(&loop->uv, &io->timer);
    io->timer.data = io;
    arm(io);
    stream_await_room(&io->sock.stream); /* both sides begin, and neither waits for the other */
    return 0;
}
