/* A client of the spool on a loop. */
#include "spool_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void die(const char *what, int code, const char *why)
{
    fprintf(stderr, "client: %s: %d: %s\n", what, code, why);
    abort();
}

static uint64_t pick(struct client *client, uint64_t most)
{
    client->random = client->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (client->random >> 33) % most;
}

size_t client_size(uint64_t number)
{
    return number % 16 == 7 ? 100000 + number % 1000 : number % 700;
}

char client_byte(uint64_t number, size_t at)
{
    return (char)((number * 31 + at * 7) >> (at % 3));
}

static void on_wake(void *arg)
{
    struct client *client = arg;
    uint64_t one = 1;

    if (write(client->wake, &one, sizeof(one)) != sizeof(one)) {
        abort();
    }
}

/* --- Putting --- */

static void begin(struct client_put *put);

static void finish_put(struct client_put *put)
{
    put->put = NULL;
    put->client->puts_active--;
    begin(put);
}

static void send_some(struct client_put *put)
{
    char piece[8192];

    while (put->left > 0) {
        size_t size = put->left < sizeof(piece) ? put->left : sizeof(piece);
        size_t at = client_size(put->number) - put->left;
        struct error err = ERROR_INIT;
        int64_t n;

        for (size_t i = 0; i < size; i++) {
            piece[i] = client_byte(put->number, at + i);
        }
        n = spool_put_write(put->put, piece, size, &err);
        if (n < 0) {
            die("write", (int)n, err.text);
        }
        put->left -= (size_t)n;
        if ((size_t)n < size) {
            return;
        }
    }
    spool_put_commit(put->put);
    if (pick(put->client, 50) > 0) {
        return;
    }
    /* Whether it is kept is not told. */
    spool_put_abort(put->put);
    put->client->aborted++;
    finish_put(put);
}

static void on_room(void *arg)
{
    send_some(arg);
}

static void on_done(void *arg, int result, uint64_t id, const struct error *err)
{
    struct client_put *put = arg;
    struct client *client = put->client;

    (void)id;
    if (result < 0) {
        die("put", result, err->text);
    }
    client->acknowledged++;
    if (client->on_acknowledged) {
        client->on_acknowledged(client, put->number);
    }
    finish_put(put);
}

static const struct spool_put_ops put_ops = {.room = on_room, .done = on_done};

static void begin(struct client_put *put)
{
    struct client *client = put->client;
    char key[32];
    const struct spool_request request = {
        .route = client->route, .enclave = "payroll", .key = key, .head = "h", .head_size = 1};
    struct error err = ERROR_INIT;
    int r;

    if (client->next == client->last) {
        return;
    }
    put->number = client->next++;
    put->left = client_size(put->number);
    snprintf(key, sizeof(key), "n%llu", (unsigned long long)put->number);
    r = spool_put_begin(client->port, &request, &put_ops, put, &put->put, &err);
    if (r < 0) {
        die("begin", r, err.text);
    }
    client->puts_active++;
    send_some(put);
}

/* --- Taking --- */

static void ask(struct client_take *take);

static void on_ready(void *arg, int result, const struct error *err)
{
    struct client_take *take = arg;
    const struct spool_record *record = spool_take_record(take->take);
    unsigned long long number = 0;

    if (result < 0 || sscanf(record->key, "n%llu", &number) != 1 ||
        record->body_size != client_size(number)) {
        die("take", result, err->text);
    }
    take->number = number;
    take->at = 0;
    spool_take_read(take->take);
}

static void on_data(void *arg, int result, const void *data, size_t size, bool last, const struct error *err)
{
    static const enum spool_verdict verdicts[] = {SPOOL_DONE, SPOOL_DONE, SPOOL_RETRY, SPOOL_DONE,
                                                  SPOOL_RELEASE};
    struct client_take *take = arg;
    struct client *client = take->client;
    struct spool_outcome outcome = {.verdict = verdicts[pick(client, 5)], .cause = "no"};
    const char *bytes = data;

    if (result < 0) {
        die("read", result, err->text);
    }
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != client_byte(take->number, take->at + i)) {
            die("body", (int)take->number, "it is another");
        }
    }
    take->at += size;
    if (!last) {
        spool_take_read(take->take);
        return;
    }
    if (outcome.verdict == SPOOL_DONE) {
        client->delivered++;
        if (client->on_delivery) {
            client->on_delivery(client, take->number);
        }
    }
    spool_take_end(take->take, &outcome);
    ask(take);
}

static const struct spool_take_ops take_ops = {.ready = on_ready, .data = on_data};

static void ask(struct client_take *take)
{
    if (spool_take(take->client->port, take->client->route, &take_ops, take, &take->take) < 0) {
        die("take", -ENOMEM, "");
    }
}

/* --- All of it --- */

void client_start(struct client *client, struct spool *spool)
{
    const struct spool_policy policy = {.first_pause_ms = 1, .most_pause_ms = 5};

    client->spool = spool;
    client->wake = eventfd(0, EFD_CLOEXEC);
    if (client->wake < 0 || spool_port_open(spool, on_wake, client, &client->port) < 0 ||
        spool_set_policy(spool, client->route, &policy) < 0) {
        die("start", -errno, strerror(errno));
    }
    for (int i = 0; i < CLIENT_TAKES; i++) {
        client->takes[i].client = client;
        ask(&client->takes[i]);
    }
    for (int i = 0; i < CLIENT_PUTS; i++) {
        client->puts[i].client = client;
        begin(&client->puts[i]);
    }
}

void client_run(struct client *client)
{
    struct pollfd ready = {.fd = client->wake, .events = POLLIN};
    uint64_t count;

    if (poll(&ready, 1, -1) == 1 && read(client->wake, &count, sizeof(count)) < 0) {
        abort();
    }
    spool_port_run(client->port);
}

void client_stop(struct client *client)
{
    const struct spool_outcome release = {.verdict = SPOOL_RELEASE};

    for (int i = 0; i < CLIENT_PUTS; i++) {
        if (client->puts[i].put) {
            spool_put_abort(client->puts[i].put);
        }
    }
    for (int i = 0; i < CLIENT_TAKES; i++) {
        spool_take_end(client->takes[i].take, &release);
    }
    spool_port_close(client->port);
    close(client->wake);
}
