/*
 * The way of bytes from the admin socket to an answer, without the socket: the message parser in splits
 * that the input chooses, then the admin's pages with a daemon that is none. Read in other splits the same
 * bytes must mean the same.
 */
#include "../unit/daemon/fake_control.h"
#include "daemon/admin.h"
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD_MAX 1024
#define BODY_MAX 256

static int feed(struct http_message *message, const char *bytes, size_t size, size_t step)
{
    int r = 0;
    for (size_t at = 0; at < size && r == 0; at += step) {
        r = http_message_feed(message, bytes + at, size - at < step ? size - at : step);
    }
    return r;
}

static void answer(struct server *server, const struct http_message *message)
{
    struct http_answer response = {.status = 200, .content_type = ""};
    text_init(&response.body, 1 << 20);
    admin_answer(server, ADMIN_ROLE_METRICS, message, &response);
    if (server->reloads != 0 || server->drains != 0) {
        abort(); /* the metrics listener commands nothing */
    }
    text_release(&response.body);
    text_init(&response.body, 1 << 20);
    admin_answer(server, ADMIN_ROLE_ADMIN, message, &response);
    text_release(&response.body);
}

static void check_same(const struct http_message *a, const struct http_message *b)
{
    if (strcmp(a->method, b->method) != 0 || strcmp(a->path, b->path) != 0 ||
        strcmp(a->query, b->query) != 0 || a->body.length != b->body.length ||
        a->request.reader.fields.count != b->request.reader.fields.count) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_message whole, split, reply;
    struct server server;
    if (size < 1 || !fake_init(&server)) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    http_message_init(&whole, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
    http_message_init(&split, HTTP_MESSAGE_REQUEST, HEAD_MAX, BODY_MAX);
    http_message_init(&reply, HTTP_MESSAGE_RESPONSE, HEAD_MAX, BODY_MAX);
    int r = feed(&whole, bytes, size - 1, size);
    int same = feed(&split, bytes, size - 1, (size_t)data[0] + 1);
    if ((r < 0) != (same < 0) || (r > 0) != (same > 0)) {
        abort();
    }
    if (r > 0) {
        check_same(&whole, &split);
        answer(&server, &whole);
    }
    if (feed(&reply, bytes, size - 1, (size_t)data[0] + 1) == 0 && http_message_finish(&reply) > 0) {
        http_message_header(&reply, "Content-Type");
    }
    http_message_release(&whole);
    http_message_release(&split);
    http_message_release(&reply);
    fake_release(&server);
    return 0;
}
