/*
 * Many streams in a loop of the program's own, without a thread.
 *
 *     pollable ROUTE COUNT SIZE
 *
 * Opens COUNT streams to ROUTE at once, sends SIZE bytes on each, and counts what comes back until all have
 * ended. The daemon is at $POSTERN_ADDRESS, or where an enclave finds it. What is watched here is one
 * descriptor; a real program watches its others beside it.
 */
#include <postern/postern.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

struct job {
    struct postern_stream *stream; /* NULL: over */
    size_t to_send;
};

static size_t running, received;
static int failed;

static void end(struct job *job, const struct postern_error *err)
{
    if (err) {
        fprintf(stderr, "pollable: %s\n", err->message);
        failed = 1;
    }
    postern_close(job->stream);
    job->stream = NULL;
    running--;
}

/* As much as is taken now. -EAGAIN is no failure: postern_next() will tell when to go on. */
static ssize_t send_some(struct job *job, struct postern_error *err)
{
    static const char zeros[16384];
    ssize_t n = 1;

    while (job->to_send > 0 && n > 0) {
        size_t size = job->to_send < sizeof zeros ? job->to_send : sizeof zeros;
        n = postern_write(job->stream, zeros, size, 0, err);
        if (n > 0) {
            job->to_send -= (size_t)n;
        }
        if (n > 0 && job->to_send == 0) {
            n = postern_finish(job->stream, err);
        }
    }
    return n;
}

static void step(struct job *job)
{
    char buffer[16384];
    struct postern_error err;
    ssize_t n = send_some(job, &err);

    if (n < 0 && n != -EAGAIN) {
        end(job, &err);
        return;
    }
    while ((n = postern_read(job->stream, buffer, sizeof buffer, 0, &err)) > 0) {
        received += (size_t)n;
    }
    if (n != -EAGAIN) {
        end(job, n < 0 ? &err : NULL);
    }
}

static void turn(struct postern *door)
{
    struct pollfd one = {.fd = postern_fd(door), .events = POLLIN};
    struct postern_stream *stream;
    unsigned events;

    poll(&one, 1, postern_timeout(door));
    postern_process(door);
    while ((stream = postern_next(door, &events))) {
        step(postern_user(stream));
    }
}

int main(int argc, char **argv)
{
    struct postern_options options;
    struct postern_error err;
    struct postern *door;
    struct job *jobs;
    size_t count;

    if (argc != 4) {
        fprintf(stderr, "usage: %s ROUTE COUNT SIZE\n", argv[0]);
        return 2;
    }
    count = strtoul(argv[2], NULL, 10);
    jobs = calloc(count > 0 ? count : 1, sizeof *jobs);
    postern_options_init(&options);
    options.max_streams = (unsigned)count;
    if (!jobs || postern_start(NULL, &options, &door, &err) < 0) {
        fprintf(stderr, "pollable: %s\n", jobs ? err.message : "out of memory");
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        if (postern_open(door, argv[1], NULL, &jobs[i].stream, &err) < 0) {
            fprintf(stderr, "pollable: %s\n", err.message);
            return 1;
        }
        jobs[i].to_send = strtoul(argv[3], NULL, 10);
        postern_set_user(jobs[i].stream, &jobs[i]);
        running++;
        step(&jobs[i]);
    }
    while (running > 0) {
        turn(door);
    }
    postern_drain(door, 1000, NULL);
    while (postern_wait_ready(door, 0, NULL) != -ESHUTDOWN) {
        turn(door);
    }
    postern_disconnect(door, 0);
    free(jobs);
    printf("%zu streams, %zu bytes came back\n", count, received);
    return failed;
}
