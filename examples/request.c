/*
 * An HTTP request to a forward route: a body of unknown length from standard input, the answer to standard output.
 *
 *     request ROUTE PATH < report
 *
 * The daemon is at $POSTERN_ADDRESS, or where an enclave finds it. Exit status: 0 for an answer of 2xx, 22 for
 * any other, 1 if there was none.
 */
#include <postern/postern.h>

#include <errno.h>
#include <stdio.h>

#define PATIENCE_MS 60000

static int fail(const char *what, const struct postern_error *err)
{
    fprintf(stderr, "request: %s: %s\n", what, err->message);
    return 1;
}

/* Until the end of the input, or until no more is wanted: then the answer tells why. A body of which a part cannot be read is never finished. */
static int send_body(struct postern_request *request, struct postern_error *err)
{
    char buffer[16384];
    size_t size;
    ssize_t n;

    while ((size = fread(buffer, 1, sizeof buffer, stdin)) > 0) {
        for (size_t at = 0; at < size; at += (size_t)n) {
            n = postern_request_write(request, buffer + at, size - at, PATIENCE_MS, err);
            if (n < 0) {
                return n == -EPIPE ? 0 : (int)n;
            }
        }
    }
    if (ferror(stdin)) {
        snprintf(err->message, sizeof err->message, "cannot read the body");
        return -EIO;
    }
    n = postern_request_finish(request, err);
    return n == -EPIPE ? 0 : (int)n;
}

static int print_answer(struct postern_request *request, struct postern_error *err)
{
    char buffer[16384];
    ssize_t n;

    while ((n = postern_request_read(request, buffer, sizeof buffer, PATIENCE_MS, err)) > 0) {
        fwrite(buffer, 1, (size_t)n, stdout);
    }
    if (n == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        snprintf(err->message, sizeof err->message, "cannot write it out");
        return -EIO;
    }
    return (int)n;
}

static int exchange(struct postern_request *request)
{
    struct postern_error err;
    const char *after;
    int status;

    if (send_body(request, &err) < 0) {
        return fail("sending", &err);
    }
    status = postern_request_status(request, PATIENCE_MS, &err);
    if (status < 0) {
        return fail("waiting for the answer", &err);
    }
    if (print_answer(request, &err) < 0) {
        return fail("reading the answer", &err);
    }
    if (status >= 200 && status < 300) {
        return 0;
    }
    after = postern_request_header(request, "retry-after");
    fprintf(stderr, "request: the answer is %d%s%s\n", status, after ? ", retry after " : "",
            after ? after : "");
    return 22;
}

int main(int argc, char **argv)
{
    struct postern_request_options options;
    struct postern_request *request;
    struct postern *door;
    struct postern_error err;
    int code;

    if (argc != 3) {
        fprintf(stderr, "usage: %s ROUTE PATH < BODY\n", argv[0]);
        return 2;
    }
    if (postern_connect(NULL, NULL, &door, &err) < 0) {
        return fail("connecting", &err);
    }
    postern_request_options_init(&options);
    options.path = argv[2];
    options.body_length = POSTERN_BODY_UNKNOWN;
    if (postern_request(door, argv[1], &options, &request, &err) < 0) {
        code = fail("the request", &err);
    } else {
        code = exchange(request);
        postern_request_close(request);
    }
    postern_disconnect(door, 1000);
    return code;
}
