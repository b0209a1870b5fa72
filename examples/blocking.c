/*
 * A request and its answer, with functions that wait.
 *
 *     blocking ROUTE TEXT...
 *
 * Opens a stream to ROUTE, sends the words a line each, says that this was all, and prints what comes back.
 * The daemon is at $POSTERN_ADDRESS, or where an enclave finds it.
 */
#include <postern/postern.h>

#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 10000

static int fail(const char *what, const struct postern_error *err)
{
    fprintf(stderr, "blocking: %s: %s%s\n", what, err->message,
            err->retryable ? " (trying again may help)" : "");
    return 1;
}

static int send_words(struct postern_stream *stream, char **words, struct postern_error *err)
{
    for (; *words; words++) {
        if (postern_write(stream, *words, strlen(*words), PATIENCE_MS, err) < 0 ||
            postern_write(stream, "\n", 1, PATIENCE_MS, err) < 0) {
            return err->status;
        }
    }
    return postern_finish(stream, err);
}

/* To the end of it: a stream that was cut short is an error, and never looks like a whole one. */
static int print_answer(struct postern_stream *stream, struct postern_error *err)
{
    char buffer[4096];
    ssize_t n;

    while ((n = postern_read(stream, buffer, sizeof buffer, PATIENCE_MS, err)) > 0) {
        fwrite(buffer, 1, (size_t)n, stdout); /* what fails is seen at the end */
    }
    return (int)n;
}

int main(int argc, char **argv)
{
    struct postern *door;
    struct postern_stream *stream;
    struct postern_error err;
    int status = 0;

    if (argc < 3) {
        fprintf(stderr, "usage: %s ROUTE TEXT...\n", argv[0]);
        return 2;
    }
    if (postern_connect(NULL, NULL, &door, &err) < 0) {
        return fail("connecting", &err);
    }
    if (postern_open(door, argv[1], NULL, &stream, &err) < 0) {
        postern_disconnect(door, 0);
        return fail("opening", &err);
    }
    if (send_words(stream, argv + 2, &err) < 0 || print_answer(stream, &err) < 0) {
        status = fail(argv[1], &err);
    } else if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "blocking: cannot write the answer\n");
        status = 1;
    }
    postern_close(stream);
    postern_disconnect(door, 1000);
    return status;
}
