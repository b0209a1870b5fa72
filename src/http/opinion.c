/* llhttp's reading of a head, compared with ours. */
#include "http/opinion.h"
#include <llhttp.h>

struct opinion {
    llhttp_t parser;
    const struct http_reader *reader;
    unsigned field;  /* the one being read */
    bool value_told; /* of it; llhttp need not tell an empty one */
    bool differs;
};

static void compare(llhttp_t *parser, struct http_span ours, const char *data, size_t size)
{
    struct opinion *opinion = CONTAINER_OF(parser, struct opinion, parser);
    opinion->differs |= !http_span_equal(ours, (struct http_span){.data = data, .size = size});
}

static struct http_field field_of(llhttp_t *parser)
{
    static const struct http_field none;
    const struct opinion *opinion = CONTAINER_OF(parser, struct opinion, parser);
    const struct http_fields *fields = &opinion->reader->fields;
    return opinion->field < fields->count ? fields->list[opinion->field] : none;
}

/* The head is in one piece, so llhttp tells each part in one piece too; what it tells in several differs. */

static int on_url(llhttp_t *parser, const char *data, size_t size)
{
    const struct http_reader *reader = CONTAINER_OF(parser, struct opinion, parser)->reader;
    struct http_span ours = {.data = reader->fields.bytes.data + reader->scan.target_at,
                             .size = reader->scan.target_size};
    compare(parser, ours, data, size);
    return 0;
}

static int on_name(llhttp_t *parser, const char *data, size_t size)
{
    compare(parser, field_of(parser).name, data, size);
    return 0;
}

/* Blanks at the end llhttp takes for a part of most values. */
static int on_value(llhttp_t *parser, const char *data, size_t size)
{
    struct http_span value = http_span_trim((struct http_span){.data = data, .size = size});
    compare(parser, field_of(parser).value, value.data, value.size);
    CONTAINER_OF(parser, struct opinion, parser)->value_told = true;
    return 0;
}

static int on_value_over(llhttp_t *parser)
{
    struct opinion *opinion = CONTAINER_OF(parser, struct opinion, parser);
    opinion->differs |= !opinion->value_told && field_of(parser).value.size > 0;
    opinion->value_told = false;
    opinion->field++;
    return 0;
}

static int on_head_over(llhttp_t *parser)
{
    (void)parser;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_over,
    .on_headers_complete = on_head_over,
};

static bool framing_agrees(const struct opinion *opinion, struct http_framing framing)
{
    const llhttp_t *theirs = &opinion->parser;
    bool chunked = (theirs->flags & F_CHUNKED) != 0;
    if (opinion->reader->kind == HTTP_SCAN_RESPONSE && framing.body == HTTP_BODY_NONE) {
        return true; /* an answer to HEAD, say, which may announce a body and has none */
    }
    return framing.body == HTTP_BODY_CHUNKED ? chunked : !chunked && theirs->content_length == framing.length;
}

static bool agrees(const struct opinion *opinion, struct http_framing framing)
{
    const llhttp_t *theirs = &opinion->parser;
    const struct http_reader *ours = opinion->reader;
    return !opinion->differs && opinion->field == ours->fields.count && theirs->http_major == 1 &&
           theirs->http_minor == ours->scan.minor && theirs->status_code == ours->scan.status &&
           framing_agrees(opinion, framing);
}

enum http_refusal http_second_opinion(const struct http_reader *reader, struct http_framing framing,
                                      unsigned *ret_method)
{
    const struct text *head = &reader->fields.bytes;
    struct opinion opinion = {.reader = reader};
    llhttp_init(&opinion.parser, reader->kind == HTTP_SCAN_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    llhttp_errno_t error = llhttp_execute(&opinion.parser, head->data, head->length);
    if (error == HPE_INVALID_METHOD) {
        return HTTP_REFUSED_METHOD;
    }
    if (error != HPE_PAUSED || !agrees(&opinion, framing)) {
        return HTTP_REFUSED_DISAGREEMENT;
    }
    *ret_method = opinion.parser.method;
    return HTTP_REFUSED_NONE;
}
