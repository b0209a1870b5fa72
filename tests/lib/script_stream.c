/* Streams that do as a test tells them: see script_stream.h. */
#include "script_stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

static struct script_stream *of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct script_stream, stream);
}

static ssize_t script_read(struct stream *stream, void *data, size_t size)
{
    struct script_stream *script = of(stream);
    if (script->read_next == script->read_count) {
        return -EAGAIN;
    }
    ssize_t *step = &script->reads[script->read_next];
    if (*step <= 0) {
        script->read_next++;
        return *step;
    }
    size_t n = (size_t)*step < size ? (size_t)*step : size;
    for (size_t i = 0; i < n; i++) {
        ((unsigned char *)data)[i] = script->next_byte++;
    }
    *step -= (ssize_t)n;
    script->read_next += *step == 0;
    return (ssize_t)n;
}

static ssize_t script_write(struct stream *stream, const void *data, size_t size)
{
    struct script_stream *script = of(stream);
    size_t n = size;
    if (script->write_next < script->write_count) {
        ssize_t step = script->writes[script->write_next++];
        if (step < 0) {
            return step;
        }
        n = (size_t)step < size ? (size_t)step : size;
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(((const unsigned char *)data)[i], script->wanted_byte);
        script->wanted_byte++;
    }
    script->written += n;
    return (ssize_t)n;
}

static int script_finish(struct stream *stream)
{
    of(stream)->finished++;
    return of(stream)->finish_result;
}

static void script_again(struct stream *stream, unsigned events)
{
    (void)events;
    of(stream)->again++;
}

static void script_mute(struct stream *stream, bool muted)
{
    (void)stream;
    (void)muted;
}

static void script_await_room(struct stream *stream)
{
    of(stream)->awaited++;
}

static void script_close(struct stream *stream, bool abort)
{
    (void)abort;
    of(stream)->closed++;
}

static const struct stream_ops script_ops = {
    .read = script_read,
    .write = script_write,
    .finish = script_finish,
    .again = script_again,
    .mute = script_mute,
    .await_room = script_await_room,
    .close = script_close,
};

static ssize_t script_borrow(struct stream *stream, const void **data)
{
    struct script_stream *script = of(stream);
    if (script->read_next == script->read_count) {
        return -EAGAIN;
    }
    ssize_t step = script->reads[script->read_next];
    if (step <= 0) {
        script->read_next++;
        return step;
    }
    size_t n = (size_t)step < SCRIPT_MEMORY ? (size_t)step : SCRIPT_MEMORY;
    for (size_t i = 0; i < n; i++) {
        script->memory[i] = (unsigned char)(script->next_byte + i);
    }
    *data = script->memory;
    return (ssize_t)n;
}

static struct pipe *script_piped(struct stream *stream)
{
    return of(stream)->pipe;
}

static void script_consumed(struct stream *stream, size_t size)
{
    struct script_stream *script = of(stream);
    if (script->pipe != NULL) {
        script->pipe->held -= size;
        script->pipe = script->pipe->held > 0 ? script->pipe : NULL;
        return;
    }
    script->next_byte = (unsigned char)(script->next_byte + size);
    script->reads[script->read_next] -= (ssize_t)size;
    script->read_next += script->reads[script->read_next] == 0;
}

static ssize_t script_reserve(struct stream *stream, void **room)
{
    struct script_stream *script = of(stream);
    *room = script->memory;
    return script->write_next < script->write_count ? script->writes[script->write_next++] : SCRIPT_MEMORY;
}

static void script_commit(struct stream *stream, size_t size)
{
    struct script_stream *script = of(stream);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(script->memory[i], script->wanted_byte);
        script->wanted_byte++;
    }
    script->written += size;
}

static const struct stream_ops lending_ops = {
    .read = script_read,
    .write = script_write,
    .finish = script_finish,
    .again = script_again,
    .mute = script_mute,
    .await_room = script_await_room,
    .close = script_close,
    .borrow = script_borrow,
    .consumed = script_consumed,
    .piped = script_piped,
    .reserve = script_reserve,
    .commit = script_commit,
};

void script_lends(struct script_stream *script)
{
    script->stream.ops = &lending_ops;
}

void script_init(struct script_stream *script)
{
    memset(script, 0, sizeof *script);
    script->stream.ops = &script_ops;
    script->stream.splice_fd = -1;
}

void script_reads(struct script_stream *script, ssize_t step)
{
    assert_in_range(script->read_count, 0, SCRIPT_STEPS - 1);
    script->reads[script->read_count++] = step;
}

void script_writes(struct script_stream *script, ssize_t step)
{
    assert_in_range(script->write_count, 0, SCRIPT_STEPS - 1);
    script->writes[script->write_count++] = step;
}
