/*
 * What programs do to libpostern at its worst, as a program that is built against the installed library.
 *
 *     client_load bulk ROUTE THREADS BYTES    each thread sends so much on a stream of its own and gets it back, byte for byte
 *     client_load idle ROUTE STREAMS          opens them all, says how much memory that takes, and uses each once
 *     client_load again ROUTE                 an exchange for each line of its input, over one connection, whatever becomes of it
 */
#include <postern/postern.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 120000

struct one {
    struct postern_stream *stream;
    uint64_t bytes;
    unsigned seed;
    pthread_t writer, reader;
    struct postern_error err;
    int failed;
};

static void die(const char *what, const struct postern_error *err)
{
    fprintf(stderr, "client_load: %s: %s\n", what, err->message);
    exit(1);
}

/* Each stream's bytes are its own, and no two blocks are alike. */
static void make(unsigned char *chunk, size_t size, uint64_t at, unsigned seed)
{
    uint64_t state = (at + 1) * 0x9e3779b97f4a7c15u ^ seed * 0xd1342543de82ef95u;

    for (size_t i = 0; i < size; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        chunk[i] = (unsigned char)(state >> 56);
    }
}

#define CHUNK 65536u

static void *send_all(void *arg)
{
    struct one *one = arg;
    unsigned char *chunk = malloc(CHUNK);

    for (uint64_t at = 0; chunk && at < one->bytes; at += CHUNK) {
        make(chunk, CHUNK, at, one->seed);
        if (postern_write(one->stream, chunk, CHUNK, PATIENCE_MS, &one->err) != CHUNK) {
            one->failed = 1;
            break;
        }
    }
    if (!chunk || postern_finish(one->stream, &one->err) < 0) {
        one->failed = 1;
    }
    free(chunk);
    return NULL;
}

static void *receive_all(void *arg)
{
    struct one *one = arg;
    unsigned char *heard = malloc(CHUNK), *wanted = malloc(CHUNK);
    uint64_t at = 0;
    size_t have = 0;
    ssize_t n;

    while ((n = postern_read(one->stream, heard + have, CHUNK - have, PATIENCE_MS, &one->err)) > 0) {
        have += (size_t)n;
        if (have < CHUNK) {
            continue;
        }
        make(wanted, CHUNK, at, one->seed);
        if (memcmp(heard, wanted, CHUNK) != 0) {
            fprintf(stderr, "client_load: stream %u: other bytes came back, from %llu on\n", one->seed,
                    (unsigned long long)at);
            one->failed = 1;
            break;
        }
        at += CHUNK;
        have = 0;
    }
    if (n < 0 || have > 0 || at != one->bytes) {
        one->failed = 1;
    }
    free(heard);
    free(wanted);
    return NULL;
}

static int bulk(struct postern *door, const char *route, unsigned count, uint64_t bytes)
{
    struct one *all = calloc(count, sizeof *all);
    struct postern_error err;
    int failed = 0;

    for (unsigned i = 0; i < count; i++) {
        if (postern_open(door, route, NULL, &all[i].stream, &err) < 0) {
            die("opening", &err);
        }
        all[i].seed = i;
        all[i].bytes = bytes / CHUNK * CHUNK;
        if (pthread_create(&all[i].writer, NULL, send_all, &all[i]) != 0 ||
            pthread_create(&all[i].reader, NULL, receive_all, &all[i]) != 0) {
            exit(1);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(all[i].writer, NULL);
        pthread_join(all[i].reader, NULL);
        postern_close(all[i].stream);
        if (all[i].failed) {
            fprintf(stderr, "client_load: stream %u: %s\n", i, all[i].err.message);
        }
        failed |= all[i].failed;
    }
    free(all);
    return failed;
}

static void print_memory(void)
{
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");

    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, "VmRSS:", 6) == 0 || strncmp(line, "RssAnon:", 8) == 0) {
            fputs(line, stdout);
        }
    }
    if (status) {
        fclose(status);
    }
}

static int idle(struct postern *door, const char *route, unsigned count)
{
    struct postern_stream **streams = calloc(count, sizeof *streams);
    struct postern_error err;
    char byte;

    for (unsigned i = 0; i < count; i++) {
        if (postern_open(door, route, NULL, &streams[i], &err) < 0) {
            die("opening", &err);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (postern_wait_opened(streams[i], PATIENCE_MS, &err) < 0) {
            die("waiting", &err);
        }
    }
    print_memory();
    for (unsigned i = 0; i < count; i++) {
        if (postern_write(streams[i], "x", 1, PATIENCE_MS, &err) != 1 ||
            postern_read(streams[i], &byte, 1, PATIENCE_MS, &err) != 1) {
            die("using", &err);
        }
        postern_close(streams[i]);
    }
    free(streams);
    return 0;
}

static void exchange(struct postern *door, const char *route, const char *line)
{
    struct postern_stream *stream;
    struct postern_error err;
    char answer[256] = "";

    if (postern_open(door, route, NULL, &stream, &err) < 0) {
        die("opening", &err);
    }
    if (postern_write(stream, line, strlen(line), PATIENCE_MS, &err) < 0 ||
        postern_finish(stream, &err) < 0 ||
        postern_read(stream, answer, sizeof answer - 1, PATIENCE_MS, &err) < 0) {
        printf("failed: %s: %s\n", err.word, err.message);
    } else {
        printf("%s", answer);
    }
    fflush(stdout);
    postern_close(stream);
}

static int again(struct postern *door, const char *route)
{
    char line[256];

    while (fgets(line, sizeof line, stdin)) {
        exchange(door, route, line);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct postern_options options;
    struct postern_error err;
    struct postern *door;
    int status = 2;

    postern_options_init(&options);
    options.max_streams = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 16;
    if (argc < 3 || postern_connect(NULL, &options, &door, &err) < 0) {
        die("connecting", &err);
    }
    if (strcmp(argv[1], "bulk") == 0 && argc == 5) {
        status = bulk(door, argv[2], options.max_streams, strtoull(argv[4], NULL, 10));
    } else if (strcmp(argv[1], "idle") == 0 && argc == 4) {
        status = idle(door, argv[2], options.max_streams);
    } else if (strcmp(argv[1], "again") == 0) {
        status = again(door, argv[2]);
    }
    postern_disconnect(door, 5000);
    return status;
}
