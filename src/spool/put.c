/*
 * A put, from the first byte to the commit.
 *
 * Small: the bytes gather in memory. spool_put_commit() gives the put to the writer (insert), which reports it.
 *
 * Large: when more than SPOOL_INLINE_MAX have come, the writer first names a body file (name), and then two buffers take
 * turns: one is filled by the owner while the files thread writes the other (write). With the commit, the last
 * buffer is written, the file and its name are synced, and then the writer inserts the record. The file is garbage
 * by name until the transaction that says otherwise.
 *
 * Failure, at any step: reported at once as done(), which ends the put. Ended or aborted, cleaning up is the same: the
 * room it took is given back, and a file goes over the files thread back to being forgotten.
 */
#include "spool/spool_private.h"

#include "spool/digest.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUFFER_SIZE  SPOOL_INLINE_MAX
#define BUFFER_FIRST 1024U

/* Written bytes are synced this often, so that the last sync is short and others' bodies get their turn. */
#define SYNC_EVERY (8U * 1024 * 1024)

#define EXPECTED_MAX ((uint64_t)1 << 60)

#define KEY_SIZE 37 /* of a UUID, with its end */

struct buffer {
    char *data; /* owned */
    size_t size;
    size_t capacity;
};

struct spool_put {
    struct op op; /* first */
    const struct spool_put_ops *ops;
    void *arg;
    struct record record; /* its block is owned, its body is `filling` */
    struct route *route;
    uint64_t reserved; /* in its tally's `incoming` */
    uint64_t size;     /* of the body so far */

    struct buffer filling;
    struct buffer writing; /* the files thread's, while the op is WORKING */
    bool starved;          /* the owner waits for room() */
    bool committing;
    bool is_large;
    bool is_away; /* a step is being made, and put_step() will come */
    bool done;    /* the record is durable */
    bool in_log;  /* it is not, but may come back when the process dies */

    /* The files thread's. */
    struct body *body;
    struct digest *digest;
    uint64_t written;
    uint64_t synced;
    bool last; /* what is written now is the end */
};

static struct spool_put *put_of(struct op *op)
{
    return (struct spool_put *)op;
}

/* --- Bounds --- */

/* Under the lock. The text names what is full, and what to do. */
static int check_bounds(struct spool *spool, const struct spool_put *put, uint64_t more, struct error *err)
{
    const struct tally *tally = put->record.tally;
    uint64_t spool_max = spool->options.max_bytes;
    uint64_t enclave_max = spool->options.max_enclave_bytes;
    uint64_t route_max = put->route->policy.max_bytes;

    if (spool_max && tallies_used(&spool->tallies, NULL, NULL) + more > spool_max) {
        return error_set(err, -ENOSPC,
                         "the spool is full: raise its `max_size`, or deliver or drop what waits");
    }
    if (route_max && tallies_used(&spool->tallies, tally->route, NULL) + more > route_max) {
        return error_set(
            err, -ENOSPC,
            "route %s has its share of the spool, `max_spool`: raise that, or deliver or drop what waits",
            tally->route);
    }
    if (enclave_max && tallies_used(&spool->tallies, NULL, tally->enclave) + more > enclave_max) {
        return error_set(err, -ENOSPC,
                         "enclave %s has its share of the spool, `max_enclave_size`: raise that, or deliver "
                         "or drop what waits",
                         tally->enclave);
    }
    return 0;
}

static int reserve(struct spool_put *put, uint64_t more, struct error *err)
{
    struct spool *spool = put->op.spool;
    int r;

    pthread_mutex_lock(&spool->lock);
    r = check_bounds(spool, put, more, err);
    if (r == 0) {
        put->record.tally->incoming += more;
        put->reserved += more;
    } else {
        put->route->refused++;
    }
    pthread_mutex_unlock(&spool->lock);
    return r;
}

/* --- The end --- */

static void put_destroy(struct op *op)
{
    struct spool_put *put = put_of(op);

    record_release(&put->record);
    digest_free(put->digest);
    free(put->filling.data);
    free(put->writing.data);
    free(put);
}

static void drop_file(struct op *op)
{
    struct spool_put *put = put_of(op);

    body_close(put->body);
    put->body = NULL;
    files_discard_op(op);
}

static const struct op_class drop_class = {.file = drop_file};

static int disown_apply(struct op *op, struct error *err)
{
    return store_garbage_renew(op->spool->store, op->file, err);
}

/* If it failed, the file stays, for what may come back; the next start will see to it. */
static void disown_settled(struct op *op)
{
    if (op->result == 0) {
        op_to_files(op, &drop_class);
    } else {
        put_destroy(op);
    }
}

static const struct op_class disown_class = {.apply = disown_apply, .settled = disown_settled};

/* Under the lock. */
static void give_room_back(struct spool_put *put)
{
    put->record.tally->incoming -= put->reserved;
    put->reserved = 0;
}

static void clean_up(struct op *op)
{
    struct spool_put *put = put_of(op);
    struct spool *spool = op->spool;

    pthread_mutex_lock(&spool->lock);
    give_room_back(put);
    pthread_mutex_unlock(&spool->lock);
    if (op->file > 0 && put->in_log) {
        op_to_writer(op, &disown_class);
    } else if (op->file > 0) {
        op_to_files(op, &drop_class);
    } else {
        put_destroy(op);
    }
}

/* What is durable is among the records that are counted, and not to be counted twice until its owner comes around. */
static void count_outcome(struct spool_put *put)
{
    struct spool *spool = put->op.spool;

    pthread_mutex_lock(&spool->lock);
    if (put->done) {
        give_room_back(put);
    }
    put->route->accepted += put->done;
    put->route->failed += !put->done;
    pthread_mutex_unlock(&spool->lock);
}

static void put_step(struct op *op);

/* For all steps: only what a class does before the report differs. */
#define REPORTING .report = put_step, .abandoned = clean_up

/* --- Steps --- */

static int insert_apply(struct op *op, struct error *err)
{
    struct spool_put *put = put_of(op);

    put->route->changed = true;
    return store_insert(op->spool->store, &put->record, err);
}

static void insert_settled(struct op *op)
{
    struct spool_put *put = put_of(op);

    put->done = op->result == 0;
    put->in_log = !put->done;
    if (put->done) {
        op->file = 0; /* it is the record's */
        route_expect(put->route, put->record.tally);
    }
    count_outcome(put);
    op_report(op);
}

static const struct op_class insert_class = {.apply = insert_apply, .settled = insert_settled, REPORTING};

static int write_buffer(struct spool_put *put, struct error *err)
{
    struct spool *spool = put->op.spool;
    int r = 0;

    if (!put->body) {
        r = body_create(&spool->place, spool->vfs, put->op.file, &put->body, err);
    }
    if (r == 0 && !put->digest) {
        r = digest_begin(&put->digest);
    }
    if (r == 0) {
        r = digest_add(put->digest, put->writing.data, put->writing.size);
    }
    if (r == 0 && put->writing.size > 0) {
        r = body_write(put->body, put->writing.data, put->writing.size, put->written, err);
    }
    put->written += put->writing.size;
    put->writing.size = 0;
    if (r == 0 && !put->last && put->written - put->synced >= SYNC_EVERY) {
        put->synced = put->written;
        r = body_sync(put->body, err);
    }
    return r;
}

static int finish_file(struct spool_put *put, struct error *err)
{
    int r = digest_end(put->digest, put->record.digest);

    if (r == 0) {
        r = body_sync(put->body, err);
    }
    if (r == 0) {
        r = body_sync_names(&put->op.spool->place, err);
    }
    body_close(put->body);
    put->body = NULL;
    put->record.file = put->op.file;
    return r == 0 ? record_sum(&put->record, put->record.sum) : r;
}

static void write_file(struct op *op)
{
    struct spool_put *put = put_of(op);
    int r = write_buffer(put, &op->error);

    if (r == 0 && put->last) {
        r = finish_file(put, &op->error);
    }
    op->result = r;
    if (r == -ENOMEM) {
        error_errno(&op->error, r, "cannot keep a body");
    }
    if (r < 0) {
        count_outcome(put);
    }
    if (r == 0 && put->last) {
        op_to_writer(op, &insert_class);
    } else {
        op_report(op);
    }
}

static const struct op_class write_class = {.file = write_file, REPORTING};

static int name_apply(struct op *op, struct error *err)
{
    return store_garbage_make(op->spool->store, &op->file, err);
}

static void name_settled(struct op *op)
{
    if (op->result == 0) {
        op_to_files(op, &write_class);
        return;
    }
    op->file = 0;
    count_outcome(put_of(op));
    op_report(op);
}

static const struct op_class name_class = {.apply = name_apply, .settled = name_settled, REPORTING};

/* Gives what was filled to the files thread, and the empty buffer to the owner. */
static void send_buffer(struct spool_put *put)
{
    struct buffer full = put->filling;

    put->filling = put->writing;
    put->writing = full;
    put->last = put->committing;
    put->is_away = true;
    if (put->op.file > 0) {
        op_to_files(&put->op, &write_class);
    } else {
        op_to_writer(&put->op, &name_class);
    }
}

/* A small body is digested by its owner: many of them do it side by side. */
static void insert_small(struct spool_put *put)
{
    struct op *op = &put->op;
    int r = digest_of(put->filling.data, put->filling.size, put->record.digest);

    put->is_away = true;
    put->record.body = put->filling.data;
    if (r == 0) {
        r = record_sum(&put->record, put->record.sum);
    }
    op->result = r;
    if (r == 0) {
        op_to_writer(op, &insert_class);
        return;
    }
    error_errno(&op->error, r, "cannot keep a record");
    count_outcome(put);
    op->class = &insert_class;
    op_report(op);
}

static void finish(struct spool_put *put)
{
    put->record.shown.body_size = put->size;
    if (put->is_large) {
        send_buffer(put);
    } else {
        insert_small(put);
    }
}

/* On the port's thread: a step was made. */
static void put_step(struct op *op)
{
    struct spool_put *put = put_of(op);

    put->is_away = false;
    if (put->done || op->result < 0) {
        put->ops->done(put->arg, op->result, put->record.shown.id, &op->error);
        clean_up(op);
    } else if (put->committing) {
        finish(put);
    } else {
        if (put->filling.size == BUFFER_SIZE) {
            send_buffer(put);
        }
        if (put->starved) {
            put->starved = false;
            put->ops->room(put->arg);
        }
    }
}

/* --- The owner's side --- */

static int make_key(char key[KEY_SIZE])
{
    uint8_t b[16];

    if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b)) {
        return -EIO;
    }
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40); /* a UUID of version 4 */
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(key, KEY_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return 0;
}

static int check_request(const struct spool_request *request, struct error *err)
{
    const char *key = request->key ? request->key : "";

    if (strlen(request->route) > SPOOL_NAME_MAX || strlen(request->enclave) > SPOOL_NAME_MAX) {
        return error_set(err, -EMSGSIZE, "a name is longer than %d bytes", SPOOL_NAME_MAX);
    }
    if (strlen(key) > SPOOL_NAME_MAX) {
        return error_set(err, -EMSGSIZE, "the idempotency key is longer than %d bytes", SPOOL_NAME_MAX);
    }
    if (request->head_size > SPOOL_HEAD_MAX) {
        return error_set(err, -EMSGSIZE, "the head is larger than %u bytes", SPOOL_HEAD_MAX);
    }
    if (request->expected > EXPECTED_MAX) {
        return error_set(err, -ENOSPC, "no spool has room for a body of %llu bytes",
                         (unsigned long long)request->expected);
    }
    return 0;
}

/* The route and the tally live as long as the spool, and so do their names. */
static int find_books(struct spool_put *put, const struct spool_request *request)
{
    struct spool *spool = put->op.spool;

    pthread_mutex_lock(&spool->lock);
    put->route = route_get(spool, request->route);
    put->record.tally = put->route ? tallies_get(&spool->tallies, request->route, request->enclave) : NULL;
    pthread_mutex_unlock(&spool->lock);
    return put->record.tally ? 0 : -ENOMEM;
}

static int copy_request(struct spool_put *put, const struct spool_request *request)
{
    struct spool_record *shown = &put->record.shown;
    char made[KEY_SIZE];
    const char *key = request->key;
    size_t key_size;
    char *block;
    int r = key ? 0 : make_key(made);

    if (r < 0) {
        return r;
    }
    key = key ? key : made;
    key_size = strlen(key) + 1;
    block = malloc(key_size + request->head_size);
    if (!block) {
        return -ENOMEM;
    }
    put->record.block = block;
    memcpy(block, key, key_size);
    shown->key = block;
    shown->head = block + key_size;
    shown->head_size = request->head_size;
    if (request->head_size > 0) {
        memcpy(block + key_size, request->head, request->head_size);
    }
    shown->route = put->record.tally->route;
    shown->enclave = put->record.tally->enclave;
    put->record.since = spool_now(put->op.spool);
    shown->created_at = put->record.since;
    return 0;
}

int spool_put_begin(struct spool_port *port, const struct spool_request *request,
                    const struct spool_put_ops *ops, void *arg, struct spool_put **ret, struct error *err)
{
    struct spool_put *put;
    int r = check_request(request, err);

    if (r < 0) {
        return r;
    }
    put = calloc(1, sizeof(*put));
    if (!put) {
        return error_errno(err, -ENOMEM, "cannot keep a record");
    }
    op_init(&put->op, port->spool, port, put_destroy);
    put->ops = ops;
    put->arg = arg;
    r = find_books(put, request);
    if (r == 0) {
        r = copy_request(put, request);
    }
    if (r < 0) {
        error_errno(err, r, "cannot keep a record");
    } else {
        r = reserve(put, SPOOL_RECORD_COST + request->head_size + request->expected, err);
    }
    if (r < 0) {
        put_destroy(&put->op);
        return r;
    }
    *ret = put;
    return 0;
}

/* Room for `more` bytes, or as many as go into a buffer. */
static int grow(struct buffer *buffer, size_t more)
{
    size_t wanted = more < BUFFER_SIZE - buffer->size ? buffer->size + more : BUFFER_SIZE;
    size_t capacity = buffer->capacity ? buffer->capacity : BUFFER_FIRST;
    char *data;

    if (wanted <= buffer->capacity) {
        return 0;
    }
    while (capacity < wanted) {
        capacity *= 2;
    }
    data = realloc(buffer->data, capacity);
    if (!data) {
        return -ENOMEM;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

/* As much as goes into the buffer. */
static int64_t fill(struct spool_put *put, const char *data, size_t size, struct error *err)
{
    struct buffer *buffer = &put->filling;
    size_t n;

    if (grow(buffer, size) < 0) {
        return error_errno(err, -ENOMEM, "cannot keep a body");
    }
    n = size < BUFFER_SIZE - buffer->size ? size : BUFFER_SIZE - buffer->size;
    memcpy(buffer->data + buffer->size, data, n);
    buffer->size += n;
    return (int64_t)n;
}

/* What the request said that it would need was reserved already. */
static int reserve_body(struct spool_put *put, uint64_t size, struct error *err)
{
    uint64_t needed = SPOOL_RECORD_COST + put->record.shown.head_size + size;

    return needed > put->reserved ? reserve(put, needed - put->reserved, err) : 0;
}

int64_t spool_put_write(struct spool_put *put, const void *data, size_t size, struct error *err)
{
    size_t taken = 0;
    int r;

    while (taken < size) {
        size_t room = BUFFER_SIZE - put->filling.size;
        int64_t n;

        if (room == 0 && put->is_away) {
            break;
        }
        if (room == 0) {
            put->is_large = true;
            send_buffer(put);
            continue;
        }
        n = (int64_t)(size - taken < room ? size - taken : room);
        r = reserve_body(put, put->size + (uint64_t)n, err);
        if (r < 0) {
            return r;
        }
        n = fill(put, (const char *)data + taken, (size_t)n, err);
        if (n < 0) {
            return n;
        }
        taken += (size_t)n;
        put->size += (uint64_t)n;
    }
    put->starved = taken < size;
    return (int64_t)taken;
}

void spool_put_commit(struct spool_put *put)
{
    put->committing = true;
    if (!put->is_away) {
        finish(put);
    }
}

void spool_put_abort(struct spool_put *put)
{
    if (op_detach(&put->op)) {
        clean_up(&put->op);
    }
}
