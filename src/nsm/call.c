/*
 * One request, one answer, whoever gives it.
 *
 * An answer is a map with one pair: the request's name and what it tells, or "Error" and the name of what is wrong; or the
 * request's name alone. The order of keys is not looked at, since devices differ in it.
 */
#include "nsm/call.h"

#include <cbor.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define WORD_MAX 64 /* of an error's name */

/* linux/nsm.h came with Linux 6.8; older kernels take the same call from AWS's own driver. */
struct nsm_raw {
    struct {
        uint64_t address, length;
    } request, response;
};
#define NSM_IOCTL_RAW _IOWR(0x0a, 0x0, struct nsm_raw)

struct nsm {
    pthread_mutex_t lock;
    pthread_cond_t idle; /* it is nobody's turn any more */
    bool asked;          /* it is somebody's turn; under the lock, which is not held meanwhile */
    int fd;              /* the device; -1: the way */
    struct nsm_way way;
};

/* ---- Open and closed ---- */

static struct nsm *make(int fd)
{
    struct nsm *nsm = calloc(1, sizeof *nsm);

    pthread_condattr_t attributes;

    if (nsm) {
        /* None of these can fail as they are used here. */
        (void)pthread_mutex_init(&nsm->lock, NULL);
        (void)pthread_condattr_init(&attributes);
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void)pthread_cond_init(&nsm->idle, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        nsm->fd = fd;
    }
    return nsm;
}

int nsm_open(const char *path, struct nsm **ret, struct error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return error_errno(err, -errno, "cannot open the NSM %s", path);
    }
    *ret = make(fd);
    if (!*ret) {
        close(fd);
        return error_errno(err, -ENOMEM, "cannot open the NSM %s", path);
    }
    return 0;
}

int nsm_open_way(const struct nsm_way *way, struct nsm **ret)
{
    *ret = make(-1);
    if (!*ret) {
        return -ENOMEM;
    }
    (*ret)->way = *way;
    return 0;
}

bool nsm_is_insecure(const struct nsm *nsm)
{
    return nsm->way.insecure;
}

void nsm_close(struct nsm *nsm)
{
    if (!nsm) {
        return;
    }
    if (nsm->fd >= 0) {
        close(nsm->fd);
    } else {
        nsm->way.close(nsm->way.user);
    }
    pthread_cond_destroy(&nsm->idle);
    pthread_mutex_destroy(&nsm->lock);
    free(nsm);
}

/* ---- The request ---- */

/* libcbor writes an item's head, or 0 for one that does not fit; either way the place moves on. */
#define HEAD(request, write, value)                          \
    do {                                                     \
        uint8_t head[9];                                     \
        add(request, head, write(value, head, sizeof head)); \
    } while (0)

static void add(struct nsm_request *request, const void *data, size_t size)
{
    if (request->size <= sizeof request->bytes && size <= sizeof request->bytes - request->size) {
        memcpy(request->bytes + request->size, data, size);
    }
    request->size += size;
}

void nsm_request_text(struct nsm_request *request, const char *text)
{
    HEAD(request, cbor_encode_string_start, strlen(text));
    add(request, text, strlen(text));
}

void nsm_request_uint(struct nsm_request *request, uint64_t value)
{
    HEAD(request, cbor_encode_uint, value);
}

void nsm_request_bytes(struct nsm_request *request, const struct nsm_bytes *bytes)
{
    if (!bytes->data) {
        add(request, "\xf6", 1);
        return;
    }
    HEAD(request, cbor_encode_bytestring_start, bytes->size);
    add(request, bytes->data, bytes->size);
}

void nsm_request_init(struct nsm_request *request, const char *name, unsigned arguments)
{
    request->name = name;
    request->deadline = NSM_NEVER;
    request->size = 0;
    if (arguments == 0) {
        nsm_request_text(request, name);
        return;
    }
    HEAD(request, cbor_encode_map_start, 1);
    nsm_request_text(request, name);
    HEAD(request, cbor_encode_map_start, arguments);
}

/* ---- The answer ---- */

int nsm_malformed(const char *name, struct error *err)
{
    return error_set(err, -EBADMSG, "the NSM's answer to %s is not what it should be", name);
}

/* The errno value of an error's name in the device's API: see nsm.h. */
static int code_of(const char *name, size_t length)
{
    static const struct {
        const char *name;
        int code;
    } errors[] = {
        {"InvalidArgument", -EINVAL},      {"InvalidIndex", -ERANGE},    {"ReadOnlyIndex", -EROFS},
        {"InvalidOperation", -EOPNOTSUPP}, {"BufferTooSmall", -ENOBUFS}, {"InputTooLarge", -EMSGSIZE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        if (length == strlen(errors[i].name) && !memcmp(name, errors[i].name, length)) {
            return errors[i].code;
        }
    }
    return -EIO;
}

static bool is_word(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return length > 0 && length <= WORD_MAX;
}

/* The NSM's own word for what is wrong, or none. */
static int refusal(const struct answer *answer, const char *name, struct error *err)
{
    struct answer word;
    const char *text;
    size_t length;

    if (!answer_find(answer, "Error", &word) || !answer_text(&word, &text, &length) ||
        !is_word(text, length)) {
        return nsm_malformed(name, err);
    }
    return error_set(err, code_of(text, length), "the NSM refuses %s: %.*s", name, (int)length, text);
}

/* A map of more than one pair could say both. */
static bool is_one_pair(const struct answer *answer)
{
    struct answer_walk walk;
    struct answer key, value;

    return answer_walk_map(answer, &walk) && answer_next(&walk, &key, &value) &&
           !answer_next(&walk, &key, &value);
}

static bool is_text(const struct answer *answer, const char *name)
{
    const char *text;
    size_t length;

    return answer_text(answer, &text, &length) && length == strlen(name) && !memcmp(text, name, length);
}

/* The second half of nsm_call(). */
static int read_reply(const struct nsm_reply *reply, const char *name, struct answer *ret, struct error *err)
{
    struct answer all;

    if (!answer_is_whole(reply->bytes, reply->size, ANSWER_ITEMS_MAX, &all)) {
        return reply->size < sizeof reply->bytes
                   ? nsm_malformed(name, err)
                   : error_set(err, -EMSGSIZE,
                               "the NSM's answer to %s is longer than %u bytes, and was cut by its driver",
                               name, NSM_RESPONSE_MAX);
    }
    if (!ret && is_text(&all, name)) {
        return 0;
    }
    if (!is_one_pair(&all)) {
        return nsm_malformed(name, err);
    }
    return ret && answer_find(&all, name, ret) ? 0 : refusal(&all, name, err);
}

/* ---- There and back ---- */

static int ask_device(int fd, const struct nsm_request *request, struct nsm_reply *reply, struct error *err)
{
    struct nsm_raw raw = {
        .request = {.address = (uintptr_t)request->bytes, .length = request->size},
        .response = {.address = (uintptr_t)reply->bytes, .length = sizeof reply->bytes},
    };

    if (ioctl(fd, NSM_IOCTL_RAW, &raw) < 0) {
        return error_errno(err, -errno, "the NSM's driver failed");
    }
    reply->size = raw.response.length < sizeof reply->bytes ? raw.response.length : sizeof reply->bytes;
    return 0;
}

static int wait_until_idle(struct nsm *nsm, uint64_t deadline)
{
    const struct timespec until = {.tv_sec = (time_t)(deadline / 1000),
                                   .tv_nsec = (long)(deadline % 1000) * 1000000};

    return deadline == NSM_NEVER ? pthread_cond_wait(&nsm->idle, &nsm->lock)
                                 : pthread_cond_timedwait(&nsm->idle, &nsm->lock, &until);
}

/* Who asks has it for as long as the driver takes; the others wait no longer than they want to. */
static int take_turn(struct nsm *nsm, const struct nsm_request *request, struct error *err)
{
    int error = 0;

    pthread_mutex_lock(&nsm->lock);
    while (nsm->asked && error == 0) {
        error = wait_until_idle(nsm, request->deadline);
    }
    bool mine = !nsm->asked;
    nsm->asked = true;
    pthread_mutex_unlock(&nsm->lock);
    return mine ? 0
                : error_set(err, -ETIMEDOUT,
                            "the time for %s is over, and the NSM has not answered another yet",
                            request->name);
}

static void give_turn(struct nsm *nsm)
{
    pthread_mutex_lock(&nsm->lock);
    nsm->asked = false;
    (void)pthread_cond_signal(&nsm->idle);
    pthread_mutex_unlock(&nsm->lock);
}

static int ask(struct nsm *nsm, const struct nsm_request *request, struct nsm_reply *reply, struct error *err)
{
    int code = take_turn(nsm, request, err);

    if (code < 0) {
        return code;
    }
    if (nsm->fd >= 0) {
        code = ask_device(nsm->fd, request, reply, err);
    } else {
        code = nsm->way.ask(nsm->way.user, request->bytes, request->size, request->deadline, reply->bytes,
                            &reply->size, err);
    }
    give_turn(nsm);
    return code;
}

int nsm_call(struct nsm *nsm, const struct nsm_request *request, struct nsm_reply *reply, struct answer *ret,
             struct error *err)
{
    int code;

    /* What a driver leaves unwritten is nothing, and not what was here before. */
    memset(reply, 0, sizeof *reply);
    if (request->size > sizeof request->bytes) {
        return error_set(err, -EMSGSIZE, "%s would be %zu bytes, and the NSM's driver takes %u at most",
                         request->name, request->size, NSM_REQUEST_MAX);
    }
    code = ask(nsm, request, reply, err);
    return code < 0 ? code : read_reply(reply, request->name, ret, err);
}
