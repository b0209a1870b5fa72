/* One request to the admin socket. */
#include "ctl/client.h"
#include "ctl/dial.h"
#include "http/message.h"
#include "net/sock.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

unsigned client_time_ms = 15000;

static int send_request(int fd, const char *method, const char *target, uint64_t deadline)
{
    char request[512];
    int size = snprintf(request, sizeof request,
                        "%s %s HTTP/1.1\r\nHost: postern\r\nUser-Agent: posternctl/" POSTERN_VERSION
                        "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                        method, target);
    if ((size_t)size >= sizeof request) {
        return -EMSGSIZE;
    }
    return dial_send(fd, request, (size_t)size, deadline);
}

static int read_answer(int fd, struct http_message *message, uint64_t deadline)
{
    char data[16384];
    for (;;) {
        ssize_t count = dial_receive(fd, data, sizeof data, deadline);
        if (count < 0) {
            return (int)count;
        }
        int r = count == 0 ? http_message_finish(message) : http_message_feed(message, data, (size_t)count);
        if (r != 0) {
            return r > 0 ? 0 : r;
        }
    }
}

static int exchange(int fd, const char *method, const char *target, struct client_answer *ret)
{
    struct http_message message;
    uint64_t deadline = dial_now_ms() + client_time_ms;
    int r = send_request(fd, method, target, deadline);
    if (r != 0) {
        return r;
    }
    http_message_init(&message, HTTP_MESSAGE_RESPONSE, 16384, CLIENT_ANSWER_MAX);
    r = read_answer(fd, &message, deadline);
    if (r == 0) {
        ret->status = message.status;
        ret->body = message.body;
        text_init(&message.body, 0); /* given away */
    }
    http_message_release(&message);
    return r;
}

/* To connect to a file that is no socket is "connection refused", as if somebody had listened there. */
static bool is_other_file(const struct addr *addr)
{
    struct stat file;
    return (addr->kind == ADDR_UNIX || addr->kind == ADDR_HYBRID) && addr->host[0] == '/' &&
           stat(addr->host, &file) == 0 && !S_ISSOCK(file.st_mode);
}

static int tell_connect_failed(int r, const struct addr *addr, const char *address, struct error *err)
{
    if (r == -ECONNREFUSED && is_other_file(addr)) {
        return error_set(
            err, r,
            "cannot reach the daemon at %s: that is no socket; give --socket the address of `admin.listen`",
            address);
    }
    switch (r) {
    case -ENOENT:
        return error_set(err, r,
                         "cannot reach the daemon at %s: there is no such socket, so it does not run, or its "
                         "`admin.listen` is another, which --socket takes; try `systemctl status postern` or "
                         "`posternctl doctor`",
                         address);
    case -ECONNREFUSED:
        return error_set(
            err, r,
            "cannot reach the daemon at %s: nobody listens there any more; try `systemctl status "
            "postern` or `posternctl doctor`",
            address);
    case -EACCES:
    case -EPERM:
        return error_set(
            err, r,
            "may not use the admin socket %s: only root and members of the group postern may; use "
            "sudo, or `sudo usermod -aG postern $USER` and log in again",
            address);
    default:
        return error_set(err, r, "cannot reach the daemon at %s: %s", address,
                         sock_connect_words(addr->kind, r));
    }
}

static int tell_exchange_failed(int r, const char *address, const char *target, struct error *err)
{
    switch (r) {
    case -ETIMEDOUT:
        return error_set(err, r,
                         "the daemon at %s did not answer %s within %u s: it hangs; its log and `posternctl "
                         "doctor` may say why",
                         address, target, client_time_ms / 1000);
    case -EBADMSG:
    case -EMSGSIZE:
        return error_set(err, r, "what listens at %s does not answer %s as a daemon would: is it posternd?",
                         address, target);
    default:
        return error_errno(err, r, "asking the daemon at %s for %s", address, target);
    }
}

/* Both ways to ask begin alike. Returns a descriptor, or a negative errno value. */
static int reach(const char *address, struct client_answer *ret, struct error *err)
{
    struct addr addr;
    *ret = (struct client_answer){.status = 0};
    text_init(&ret->body, 0);
    int r = addr_parse(address, &addr, err);
    if (r != 0) {
        error_prefix(err, "$POSTERN_ADMIN, the admin socket's address"); /* --socket was looked at */
        return r;
    }
    int fd = dial_addr(&addr, dial_now_ms() + client_time_ms);
    return fd >= 0 ? fd : tell_connect_failed(fd, &addr, address, err);
}

int client_ask(const char *address, const char *method, const char *target, struct client_answer *ret,
               struct error *err)
{
    int fd = reach(address, ret, err);
    if (fd < 0) {
        return fd;
    }
    int r = exchange(fd, method, target, ret);
    close(fd);
    return r == 0 ? 0 : tell_exchange_failed(r, address, target, err);
}

/* ---- Bodies of any size ---- */

struct saving {
    client_piece piece;
    void *data;
    struct client_answer *answer;
    struct http_response response;
    int failed; /* what piece() returned, or that memory ran out */
};

static int take_piece(struct saving *saving, struct http_span piece)
{
    struct text *body = &saving->answer->body;
    if (saving->answer->status == 200) {
        return saving->piece(saving->data, piece.data, piece.size);
    }
    text_add_bytes(body, piece.data, piece.size);
    return body->failed ? -ENOMEM : 0;
}

/* Returns 1 at the end, 0 when more is needed, or a negative errno value. */
static int take_bytes(struct saving *saving, const char *data, size_t size)
{
    for (;;) {
        struct http_span piece;
        size_t used;
        enum http_event event = http_response_read(&saving->response, data, size, &used, &piece);
        data += used;
        size -= used;
        saving->answer->status = (int)saving->response.status;
        if (event == HTTP_EVENT_BODY) {
            saving->failed = take_piece(saving, piece);
        }
        if (event == HTTP_EVENT_MORE || event == HTTP_EVENT_END || saving->failed != 0) {
            return saving->failed != 0 ? saving->failed : event == HTTP_EVENT_END;
        }
        if (event == HTTP_EVENT_REFUSED) {
            return -EBADMSG;
        }
    }
}

static int receive_all(int fd, struct saving *saving)
{
    static char data[65536];
    for (;;) {
        ssize_t count = dial_receive(fd, data, sizeof data, dial_now_ms() + client_time_ms);
        if (count <= 0) {
            return count < 0 ? (int)count : -ECONNRESET; /* every answer of the daemon's has a length */
        }
        int r = take_bytes(saving, data, (size_t)count);
        if (r != 0) {
            return r < 0 ? r : 0;
        }
    }
}

static int tell_save_failed(const struct saving *saving, int r, const char *address, const char *target,
                            struct error *err)
{
    if (saving->failed != 0) {
        return error_errno(err, r, "cannot write what the daemon sent");
    }
    if (r == -ECONNRESET) {
        return error_set(
            err, r,
            "the daemon at %s ended its answer in the middle: the record is damaged, or the daemon "
            "stopped; its log says which",
            address);
    }
    return tell_exchange_failed(r, address, target, err);
}

int client_save(const char *address, const char *target, client_piece piece, void *data,
                struct client_answer *ret, struct error *err)
{
    static const struct http_limits limits = HTTP_LIMITS_INIT;
    struct saving saving = {.piece = piece, .data = data, .answer = ret};
    int fd = reach(address, ret, err);
    if (fd < 0) {
        return fd;
    }
    http_response_init(&saving.response, &limits, false);
    int r = send_request(fd, "GET", target, dial_now_ms() + client_time_ms);
    if (r == 0) {
        r = receive_all(fd, &saving);
    }
    http_response_release(&saving.response);
    close(fd);
    return r == 0 ? 0 : tell_save_failed(&saving, r, address, target, err);
}
