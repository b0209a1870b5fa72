/*
 * Requests are constants. Answers are a map with one pair: the request's name and a map, or "Error" and the name of what is
 * wrong. The order of keys in them is not looked at, since devices differ in it.
 */
#include "nsm/nsm.h"
#include "nsm/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* linux/nsm.h came with Linux 6.8; older kernels take the same call from AWS's own driver. */
struct nsm_raw {
    struct {
        uint64_t address, length;
    } request, response;
};
#define NSM_IOCTL_RAW _IOWR(0x0a, 0x0, struct nsm_raw)

static const char random_request[] = "\x69GetRandom";
static const char time_request[] = "\xa1\x6b"
                                   "Attestation"
                                   "\xa3\x69user_data\xf6\x65nonce\xf6\x6apublic_key\xf6";

int nsm_open(const char *path, struct error *err)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? error_errno(err, -errno, "cannot open the NSM %s", path) : fd;
}

/* What the device said. */
struct reply {
    size_t length;
    uint8_t bytes[NSM_RESPONSE_MAX];
};

static int call(int fd, const char *request, size_t size, struct reply *reply, struct error *err)
{
    struct nsm_raw raw = {
        .request = {.address = (uintptr_t)request, .length = size},
        .response = {.address = (uintptr_t)reply->bytes, .length = sizeof reply->bytes},
    };

    memset(reply, 0,
           sizeof *reply); /* what a driver leaves unwritten is nothing, and not what was here before */
    if (ioctl(fd, NSM_IOCTL_RAW, &raw) < 0) {
        return error_errno(err, -errno, "the NSM's driver failed");
    }
    reply->length = raw.response.length < sizeof reply->bytes ? raw.response.length : sizeof reply->bytes;
    return 0;
}

static int malformed(struct error *err, const char *what)
{
    return error_set(err, -EBADMSG, "the NSM's answer to %s is not what it should be", what);
}

/* The NSM's own word for what is wrong, or none. */
static int refusal(const struct answer *answer, const char *what, struct error *err)
{
    struct answer word;
    const char *text;
    size_t length;

    if (!answer_find(answer, "Error", &word) || !answer_text(&word, &text, &length)) {
        return malformed(err, what);
    }
    return error_set(err, -EIO, "the NSM refuses %s: %.*s", what, (int)length, text);
}

int nsm_parse_random(const uint8_t *answer, size_t length, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length,
                     struct error *err)
{
    struct answer all, inner;
    const uint8_t *random;
    size_t got;

    if (!answer_is_whole(answer, length, &all)) {
        return malformed(err, "GetRandom");
    }
    if (!answer_find(&all, "GetRandom", &inner) || !answer_find(&inner, "random", &inner) ||
        !answer_bytes(&inner, &random, &got) || got == 0) {
        return refusal(&all, "GetRandom", err);
    }
    *ret_length = got < NSM_RANDOM_MAX ? got : NSM_RANDOM_MAX;
    memcpy(bytes, random, *ret_length);
    return 0;
}

/* A COSE_Sign1 is tagged or not. libcbor (0.8 at least) takes its tag for malformed, so it is passed over here. */
#define COSE_SIGN1_TAG 0xd2

/* [protected, unprotected, payload, signature], and in the payload a map. Whoever signed it is on the other side of the
 * device, so the signature tells nothing here. */
static bool timestamp_of(const uint8_t *document, size_t length, uint64_t *ret_ms)
{
    size_t tag = length > 0 && document[0] == COSE_SIGN1_TAG ? 1 : 0;
    struct answer at, payload;
    const uint8_t *bytes;
    size_t size;

    return answer_is_whole(document + tag, length - tag, &at) && answer_entry(&at, 2, 4, &payload) &&
           answer_bytes(&payload, &bytes, &size) && answer_is_whole(bytes, size, &at) &&
           answer_find(&at, "timestamp", &at) && answer_uint(&at, ret_ms) && *ret_ms > 0;
}

int nsm_parse_time(const uint8_t *answer, size_t length, uint64_t *ret_ms, struct error *err)
{
    struct answer all, inner;
    const uint8_t *document;
    uint64_t ms;
    size_t size;

    if (!answer_is_whole(answer, length, &all)) {
        return malformed(err, "Attestation");
    }
    if (!answer_find(&all, "Attestation", &inner) || !answer_find(&inner, "document", &inner) ||
        !answer_bytes(&inner, &document, &size)) {
        return refusal(&all, "Attestation", err);
    }
    if (!timestamp_of(document, size, &ms)) {
        return malformed(err, "Attestation");
    }
    *ret_ms = ms;
    return 0;
}

int nsm_random(int fd, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length, struct error *err)
{
    struct reply reply;
    int code = call(fd, random_request, sizeof random_request - 1, &reply, err);

    if (code == 0) {
        code = nsm_parse_random(reply.bytes, reply.length, bytes, ret_length, err);
    }
    explicit_bzero(&reply, sizeof reply);
    return code;
}

int nsm_time(int fd, uint64_t *ret_ms, struct error *err)
{
    struct reply reply;
    int code = call(fd, time_request, sizeof time_request - 1, &reply, err);

    return code < 0 ? code : nsm_parse_time(reply.bytes, reply.length, ret_ms, err);
}
