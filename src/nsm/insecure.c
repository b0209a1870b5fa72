/* A software NSM: see insecure.h. It may say what it wants, and gets INSECURE_NSM_MS for it. */
#include "nsm/insecure.h"

#include "net/attempt.h"
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WHO "the INSECURE software NSM at %s"

struct place {
    struct addr at;
};

/* A request that is on its way. */
struct asking {
    int fd;
    uint64_t until; /* by now_ms() */
};

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* cannot fail with this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 0, -ETIMEDOUT, or why it cannot be waited for. */
static int wait_for(int fd, short events, uint64_t until)
{
    for (;;) {
        uint64_t now = now_ms();
        struct pollfd one = {.fd = fd, .events = events};
        int n = now < until ? poll(&one, 1, (int)(until - now)) : 0;

        if (n > 0) {
            return 0;
        }
        if (n == 0 || errno != EINTR) {
            return n == 0 ? -ETIMEDOUT : -errno;
        }
    }
}

static int dial(const struct addr *to, struct asking *asking, struct error *err)
{
    struct attempt attempt;
    int code = attempt_begin(&attempt, to, INSECURE_NSM_MS, "is it running?", err);

    while (code == -EAGAIN) {
        code = wait_for(attempt_fd(&attempt), attempt_wants(&attempt), asking->until);
        code = code < 0 ? error_errno(err, code, "it cannot be connected to") : attempt_step(&attempt, err);
    }
    asking->fd = code == 0 ? attempt_take(&attempt) : -1;
    attempt_end(&attempt);
    return code;
}

static int send_all(const struct asking *asking, const uint8_t *bytes, size_t size)
{
    size_t at = 0;

    while (at < size) {
        ssize_t n = send(asking->fd, bytes + at, size - at, MSG_NOSIGNAL);
        int code = n < 0 ? -errno : 0;

        at += n > 0 ? (size_t)n : 0;
        if (code == -EAGAIN) {
            code = wait_for(asking->fd, POLLOUT, asking->until);
        }
        if (code < 0 && code != -EINTR) {
            return code;
        }
    }
    return 0;
}

static int receive_all(const struct asking *asking, uint8_t *bytes, size_t size)
{
    size_t at = 0;

    while (at < size) {
        int code = wait_for(asking->fd, POLLIN, asking->until);
        ssize_t n = code < 0 ? 0 : recv(asking->fd, bytes + at, size - at, 0);

        if (code < 0 || n == 0) {
            return code < 0 ? code : -ECONNRESET;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int exchange(const struct asking *asking, const uint8_t *request, size_t size,
                    uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size)
{
    uint32_t length = htobe32((uint32_t)size);
    int code = send_all(asking, (const uint8_t *)&length, sizeof length);

    code = code < 0 ? code : send_all(asking, request, size);
    code = code < 0 ? code : receive_all(asking, (uint8_t *)&length, sizeof length);
    if (code < 0) {
        return code;
    }
    *ret_size = be32toh(length);
    return *ret_size <= NSM_RESPONSE_MAX ? receive_all(asking, response, *ret_size) : -EMSGSIZE;
}

static int ask(void *user, const uint8_t *request, size_t size, uint64_t deadline,
               uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err)
{
    const struct place *place = user;
    uint64_t latest = now_ms() + INSECURE_NSM_MS;
    struct asking asking = {.until = latest < deadline ? latest : deadline};
    char text[ADDR_TEXT_MAX];
    int code = dial(&place->at, &asking, err);

    if (code < 0) {
        error_prefix(err, "the INSECURE software NSM");
        return now_ms() >= deadline ? -ETIMEDOUT : -ENODEV;
    }
    code = exchange(&asking, request, size, response, ret_size);
    close(asking.fd);
    if (code < 0) {
        return error_errno(err, code, WHO " gave no answer", addr_format(&place->at, text));
    }
    return 0;
}

int nsm_open_insecure(const char *address, struct nsm **ret, struct error *err)
{
    struct place *place = malloc(sizeof *place);
    struct nsm_way way = {.ask = ask, .close = free, .user = place, .insecure = true};
    int code;

    if (!place) {
        return error_errno(err, -ENOMEM, "cannot open an NSM");
    }
    code = addr_parse(address, &place->at, err);
    if (code == 0 &&
        (place->at.cid_by_name || (place->at.kind == ADDR_VSOCK && place->at.cid == ADDR_CID_ANY))) {
        code = error_set(err, -EINVAL, "\"%s\": here a CID is a number, parent or local", address);
    }
    if (code == 0 && nsm_open_way(&way, ret) != 0) {
        code = error_errno(err, -ENOMEM, "cannot open an NSM");
    }
    if (code < 0) {
        free(place);
    }
    return code;
}
