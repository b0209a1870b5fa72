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
#include <limits.h>
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

/* 0: it is no number, or not from 1 to UINT_MAX. */
static unsigned parse(const char *text)
{
    char *rest;
    unsigned long number = strtoul(text, &rest, 10);

    return *rest == '\0' && number <= UINT_MAX ? (unsigned)number : 0;
}

/* Those that were opened before one that could not be are carried to their ends. */
static void open_all(struct postern *door, const char *route, struct job *jobs, size_t count, size_t size)
{
    struct postern_error err;

    for (size_t i = 0; i < count; i++) {
        if (postern_open(door, route, NULL, &jobs[i].stream, &err) < 0) {
            fprintf(stderr, "pollable: %s\n", err.message);
            failed = 1;
            return;
        }
        jobs[i].to_send = size;
        postern_set_user(jobs[i].stream, &jobs[i]);
        running++;
        step(&jobs[i]);
    }
}

int main(int argc, char **argv)
{
    unsigned count = argc == 4 ? parse(argv[2]) : 0, size = argc == 4 ? parse(argv[3]) : 0;
    struct postern_options options;
    struct postern_error err;
    struct postern *door;
    struct job *jobs;

    if (count == 0 || size == 0) {
        fprintf(stderr, "usage: %s ROUTE COUNT SIZE\n", argv[0]);
        return 2;
    }
    jobs = calloc(count, sizeof *jobs);
    postern_options_init(&options);
    options.max_streams = count;
    if (!jobs || postern_start(NULL, &options, &door, &err) < 0) {
        fprintf(stderr, "pollable: %s\n", jobs ? err.message : "out of memory");
        free(jobs);
        return 1;
    }
    open_all(door, argv[1], jobs, count, size);
    while (running > 0) {
        turn(door);
    }
    postern_drain(door, 1000, NULL);
    while (postern_wait_ready(door, 0, NULL) != -ESHUTDOWN) {
        turn(door);
    }
    postern_disconnect(door, 0);
    free(jobs);
    printf("%u streams, %zu bytes came back\n", count, received);
    return failed;
}
