/* Bodies on their way out. */
#include "http/body.h"
#include "http/head.h"
#include <assert.h>

void http_body_init(struct http_body_out *body, struct http_framing framing)
{
    *body = (struct http_body_out){.framing = framing};
}

size_t http_body_prefix(struct http_body_out *body, size_t size, char buffer[HTTP_CHUNK_PREFIX_MAX])
{
    bool first = !body->begun;
    body->begun = true;
    if (body->framing.body == HTTP_BODY_CHUNKED) {
        return http_chunk_prefix(first, size, buffer);
    }
    if (body->framing.body == HTTP_BODY_LENGTH) {
        assert(size <= body->framing.length); /* the reader sees to it */
        body->framing.length -= size;
    }
    return 0;
}

void http_body_end(const struct http_body_out *body, const struct http_fields *trailers, struct text *out)
{
    struct http_head head;
    assert(body->framing.body != HTTP_BODY_LENGTH || body->framing.length == 0);
    if (body->framing.body != HTTP_BODY_CHUNKED) {
        return;
    }
    http_head_init(&head, 0);
    text_add(&head.line, body->begun ? "\r\n0" : "0");
    for (unsigned i = 0; i < trailers->count; i++) {
        if (trailers->list[i].crosses) {
            http_head_add(&head, trailers->list[i].name, trailers->list[i].value);
        }
    }
    http_head_write(&head, out);
    http_head_release(&head);
}
