/*
 * What the spool does in a second, beside what the disk does (bench/spool): clients that put, wait for the answer, and put
 * again, all on one thread as on a worker's loop; and the disk's own syncs, of as many bytes, in the same directory.
 */
#include "spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct client {
    struct bench *bench;
    struct spool_put *put;
    size_t left;
};

struct bench {
    struct spool *spool;
    struct spool_port *port;
    int wake;
    char *body;
    size_t size;
    uint64_t done;
    uint64_t stop_at;
    unsigned active;
    struct spool_take *take;
};

static uint64_t now_ns(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000U + (uint64_t)at.tv_nsec;
}

static void die(const char *what, int code, const char *why)
{
    fprintf(stderr, "bench_spool: %s: %d: %s\n", what, code, why);
    exit(1);
}

static void on_wake(void *arg)
{
    struct bench *bench = arg;
    uint64_t one = 1;

    if (write(bench->wake, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

static void send_some(struct client *client)
{
    struct bench *bench = client->bench;
    struct error err = ERROR_INIT;

    while (client->left > 0) {
        size_t size = client->left < bench->size ? client->left : bench->size;
        int64_t n;

        if (size > 256U * 1024) {
            size = 256U * 1024;
        }
        n = spool_put_write(client->put, bench->body, size, &err);
        if (n < 0) {
            die("writing", (int)n, err.text);
        }
        client->left -= (size_t)n;
        if ((size_t)n < size) {
            return;
        }
    }
    spool_put_commit(client->put);
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err);

static void on_room(void *arg)
{
    send_some(arg);
}

static const struct spool_put_ops ops = {.room = on_room, .done = on_done};

static void begin(struct client *client)
{
    const struct spool_request request = {.route = "results",
                                          .enclave = "payroll",
                                          .head = "POST /v1/results HTTP/1.1",
                                          .head_size = 25};
    struct error err = ERROR_INIT;
    int r = spool_put_begin(client->bench->port, &request, &ops, client, &client->put, &err);

    if (r < 0) {
        die("beginning", r, err.text);
    }
    client->left = client->bench->size;
    send_some(client);
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err)
{
    struct client *client = arg;
    struct bench *bench = client->bench;

    (void)id;
    if (result < 0) {
        die("putting", result, err->text);
    }
    bench->done++;
    if (now_ns() < bench->stop_at) {
        begin(client);
    } else {
        bench->active--;
    }
}

static void wait_for_wake(struct bench *bench)
{
    struct pollfd ready = {.fd = bench->wake, .events = POLLIN};
    uint64_t count;

    poll(&ready, 1, -1);
    if (read(bench->wake, &count, sizeof(count)) < 0 && errno != EAGAIN) {
        abort();
    }
    spool_port_run(bench->port);
}

/* How often the disk syncs `size` bytes written over others, in a second. */
static double disk_rate(const char *folder, size_t size, double seconds)
{
    char path[512];
    char *data = calloc(1, size);
    uint64_t start;
    unsigned n = 0;
    size_t file = 4U * 1024 * 1024;
    int fd;

    snprintf(path, sizeof(path), "%s/disk", folder);
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || !data) {
        die(path, -errno, strerror(errno));
    }
    for (size_t at = 0; at < file; at += size) {
        if (pwrite(fd, data, size, (off_t)at) < 0) {
            die(path, -errno, strerror(errno));
        }
    }
    fsync(fd);
    start = now_ns();
    while ((double)(now_ns() - start) < seconds * 1e9) {
        if (pwrite(fd, data, size, (off_t)(n * size % file)) < 0 || fdatasync(fd) != 0) {
            die(path, -errno, strerror(errno));
        }
        n++;
    }
    seconds = (double)(now_ns() - start) / 1e9;
    close(fd);
    unlink(path);
    free(data);
    return n / seconds;
}

static long most_memory(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Bytes that this process has given to write(). */
static uint64_t written(void)
{
    FILE *io = fopen("/proc/self/io", "r");
    char line[128];
    uint64_t bytes = 0;

    while (io && fgets(line, sizeof(line), io)) {
        if (strncmp(line, "wchar: ", 7) == 0) {
            bytes = strtoull(line + 7, NULL, 10);
        }
    }
    if (io) {
        fclose(io);
    }
    return bytes;
}

static void open_spool(struct bench *bench, const char *path)
{
    const struct spool_options options = {.path = path};
    struct error err = ERROR_INIT;
    int r = spool_open(&options, &bench->spool, &err);

    if (r < 0 || spool_port_open(bench->spool, on_wake, bench, &bench->port) < 0) {
        die("opening", r, err.text);
    }
}

static double put_for(struct bench *bench, unsigned clients, double seconds)
{
    struct client *all = calloc(clients, sizeof(*all));
    uint64_t start = now_ns();

    if (!all) {
        die("starting", -ENOMEM, "");
    }
    bench->stop_at = start + (uint64_t)(seconds * 1e9);
    bench->active = clients;
    for (unsigned i = 0; i < clients; i++) {
        all[i].bench = bench;
        begin(&all[i]);
    }
    while (bench->active > 0) {
        wait_for_wake(bench);
    }
    free(all);
    return (double)(now_ns() - start) / 1e9;
}

/* The disk is measured before and after: it is shared, and changes its mind. */
int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : "/tmp";
    unsigned clients = argc > 2 ? (unsigned)atoi(argv[2]) : 64;
    size_t size = argc > 3 ? (size_t)atoll(argv[3]) : 256;
    double seconds = argc > 4 ? atof(argv[4]) : 3;
    char path[512];
    struct bench bench = {.size = size, .wake = eventfd(0, EFD_CLOEXEC)};
    struct spool_health health;
    double puts, took, disk, plain;
    uint64_t bytes;
    size_t each;

    snprintf(path, sizeof(path), "%s/bench-spool", folder);
    bench.body = calloc(1, 256U * 1024);
    if (!bench.body) {
        die("starting", -ENOMEM, "");
    }
    open_spool(&bench, path);
    put_for(&bench, clients, 0.5); /* the log takes its size */
    bench.done = 0;
    spool_health(bench.spool, &health);
    each = health.commits;
    plain = disk_rate(folder, 4096, 0.5);
    bytes = written();
    took = put_for(&bench, clients, seconds);
    bytes = written() - bytes;
    spool_health(bench.spool, &health);
    health.commits -= each;
    puts = (double)bench.done / took;
    each = bytes / health.commits;
    disk = disk_rate(folder, each, 1);
    plain = (plain + disk_rate(folder, 4096, 0.5)) / 2;
    printf("%u clients, %zu bytes: %.0f puts/s, %.1f times the disk's %.0f syncs/s of 4 KiB; in %.0f "
           "commits/s of %.1f puts and "
           "%zu KiB, %.2f times what the disk syncs of those (%.0f/s); %ld MiB resident\n",
           clients, size, puts, puts / plain, plain, (double)health.commits / took,
           (double)bench.done / (double)health.commits, each / 1024, (double)health.commits / took / disk,
           disk, most_memory() / 1024);
    spool_port_close(bench.port);
    spool_close(bench.spool);
    free(bench.body);
    return puts / plain < 0.8;
}
