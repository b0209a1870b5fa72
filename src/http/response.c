/* Responses, read and judged. */
#include "http/response.h"
#include "http/hop.h"
#include "http/opinion.h"
#include "http/status.h"

void http_response_init(struct http_response *response, const struct http_limits *limits, bool head_only)
{
    *response = (struct http_response){.head_only = head_only};
    http_reader_init(&response->reader, HTTP_SCAN_RESPONSE, limits);
}

void http_response_release(struct http_response *response)
{
    http_reader_release(&response->reader);
}

bool http_response_begun(const struct http_response *response)
{
    return response->interim > 0 || http_reader_begun(&response->reader);
}

/* What the enclave is told; reader.why knows better. */
static enum http_refusal word_for(const struct http_reader *reader)
{
    switch (reader->why) {
    case HTTP_REFUSED_HEAD_SIZE:
    case HTTP_REFUSED_FIELDS:
    case HTTP_REFUSED_BODY_SIZE:
        return HTTP_REFUSED_RESPONSE_SIZE;
    case HTTP_REFUSED_BOTH_LENGTHS:
    case HTTP_REFUSED_CONTENT_LENGTH:
    case HTTP_REFUSED_TRANSFER_ENCODING:
    case HTTP_REFUSED_DOUBLED:
    case HTTP_REFUSED_BODY:
        return HTTP_REFUSED_RESPONSE_FRAMING;
    case HTTP_REFUSED_NO_MEMORY:
    case HTTP_REFUSED_RESPONSE_INTERIM:
    case HTTP_REFUSED_RESPONSE_UPGRADE:
    case HTTP_REFUSED_RESPONSE_CUT:
        return reader->why;
    default:
        return reader->phase == HTTP_PHASE_HEAD ? HTTP_REFUSED_RESPONSE_HEAD : HTTP_REFUSED_RESPONSE_FRAMING;
    }
}

static enum http_event refuse(struct http_response *response, enum http_refusal why)
{
    http_reader_refuse(&response->reader, why);
    response->why = word_for(&response->reader);
    return HTTP_EVENT_REFUSED;
}

/* The only field of that name; *ret is NULL if there is none. */
static enum http_refusal find_single(const struct http_fields *fields, enum http_name name,
                                     const struct http_field **ret)
{
    *ret = NULL;
    for (unsigned i = 0; i < fields->count; i++) {
        if (fields->list[i].known == name) {
            if (*ret != NULL) {
                return HTTP_REFUSED_DOUBLED;
            }
            *ret = &fields->list[i];
        }
    }
    return HTTP_REFUSED_NONE;
}

static bool is_bodiless(unsigned status)
{
    return status < 200 || status == 204 || status == 304;
}

/* RFC 9112 (6.3). Where there can be no body, one that is announced is an attempt to have its bytes taken for the
 * next answer; but HEAD and 304 tell the length that another answer
 * would have. That of a 304 is not passed on: not every client knows that nothing follows. */
static enum http_refusal judge_framing(struct http_response *response, const struct http_field *length,
                                       const struct http_field *coding)
{
    unsigned status = response->status;
    struct http_framing announced;
    enum http_refusal why = http_framing_judge(length, coding, response->reader.scan.minor, &announced);
    if (why != HTTP_REFUSED_NONE) {
        return why;
    }
    response->framing = announced;
    bool barred = status == 204 || status < 200;
    if (response->head_only || status == 304 || barred) {
        response->framing = (struct http_framing){.body = HTTP_BODY_NONE};
        response->told_length = length != NULL && !is_bodiless(status);
        response->length = announced.length;
        return barred && announced.body != HTTP_BODY_NONE ? HTTP_REFUSED_BODY : HTTP_REFUSED_NONE;
    }
    if (length == NULL && coding == NULL) {
        response->framing.body = HTTP_BODY_UNTIL_END;
    }
    return HTTP_REFUSED_NONE;
}

static enum http_refusal judge_status(struct http_response *response)
{
    response->status = response->reader.scan.status;
    if (response->status == 101) {
        return HTTP_REFUSED_RESPONSE_UPGRADE;
    }
    bool over = response->status < 200 && ++response->interim > response->reader.limits->interim;
    return over ? HTTP_REFUSED_RESPONSE_INTERIM : HTTP_REFUSED_NONE;
}

static enum http_refusal judge_fields(struct http_response *response)
{
    struct http_fields *fields = &response->reader.fields;
    const struct http_field *length, *coding = NULL;
    struct http_hop hop;
    enum http_refusal why = http_hop_judge(fields, NULL, &hop);
    if (why == HTTP_REFUSED_NONE) {
        why = find_single(fields, HTTP_NAME_CONTENT_LENGTH, &length);
    }
    if (why == HTTP_REFUSED_NONE) {
        why = find_single(fields, HTTP_NAME_TRANSFER_ENCODING, &coding);
    }
    if (why == HTTP_REFUSED_NONE) {
        why = judge_framing(response, length, coding);
    }
    response->keep_alive = response->reader.scan.minor == 1 && !hop.close;
    return why;
}

static enum http_refusal judge_head(struct http_response *response)
{
    unsigned method;
    enum http_refusal why = judge_status(response);
    if (why == HTTP_REFUSED_NONE) {
        why = judge_fields(response);
    }
    if (why == HTTP_REFUSED_NONE) {
        why = http_second_opinion(&response->reader, response->framing, &method);
    }
    response->keep_alive &= response->framing.body != HTTP_BODY_UNTIL_END;
    return why == HTTP_REFUSED_NONE ? http_reader_frame(&response->reader, response->framing) : why;
}

/* Of those that count in the head alone, none is passed on. */
static void judge_trailers(struct http_fields *trailers)
{
    for (unsigned i = 0; i < trailers->count; i++) {
        struct http_field *field = &trailers->list[i];
        field->crosses = http_trailer_name_judge(field->name, NULL) == HTTP_REFUSED_NONE;
    }
}

enum http_event http_response_read(struct http_response *response, const char *data, size_t size,
                                   size_t *ret_used, struct http_span *ret_piece)
{
    struct http_reader *reader = &response->reader;
    if (response->status != 0 && response->status < 200) {
        response->status = 0; /* the caller has seen the interim answer */
        http_reader_next(reader);
    }
    enum http_event event = http_reader_read(reader, data, size, ret_used, ret_piece);
    if (event == HTTP_EVENT_HEAD) {
        enum http_refusal why = judge_head(response);
        return why == HTTP_REFUSED_NONE ? event : refuse(response, why);
    }
    if (event == HTTP_EVENT_END) {
        judge_trailers(&reader->trailers);
    }
    return event == HTTP_EVENT_REFUSED ? refuse(response, reader->why) : event;
}

enum http_event http_response_finish(struct http_response *response, bool clean)
{
    bool whole = response->status >= 200 && http_reader_finish(&response->reader) == HTTP_EVENT_END;
    bool cut = response->framing.body == HTTP_BODY_UNTIL_END && !clean;
    return whole && !cut ? HTTP_EVENT_END : refuse(response, HTTP_REFUSED_RESPONSE_CUT);
}

/* How the body goes on: as it comes, if the client can take it so. */
static struct http_framing framing_for(const struct http_response *response, const struct http_client *client)
{
    struct http_framing framing = response->framing;
    if (framing.body == HTTP_BODY_CHUNKED || framing.body == HTTP_BODY_UNTIL_END) {
        framing.body = client->chunked ? HTTP_BODY_CHUNKED : HTTP_BODY_UNTIL_END;
    }
    return framing;
}

static void add_framing(const struct http_response *response, struct http_framing framing,
                        struct http_head *head)
{
    if (framing.body == HTTP_BODY_CHUNKED) {
        http_head_add(head, HTTP_SPAN("transfer-encoding"), HTTP_SPAN("chunked"));
    } else if (framing.body == HTTP_BODY_LENGTH) {
        http_head_add_number(head, "content-length", framing.length);
    } else if (response->told_length) {
        http_head_add_number(head, "content-length", response->length);
    } else if (framing.body == HTTP_BODY_NONE && !is_bodiless(response->status) && !response->head_only) {
        http_head_add_number(head, "content-length", 0);
    }
}

/* Three digits: the scan saw to it. */
static void add_status_line(unsigned status, struct text *line)
{
    char digits[] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10),
                     ' '};
    text_add(line, "HTTP/1.1 ");
    text_add_bytes(line, digits, sizeof digits);
    text_add(line, http_status_words(status));
}

#define ID_HEADER "x-request-id"

/* The parent's id, and not one that the upstream made, is what can be found in the log. */
static bool is_told(const struct http_field *field, const struct http_client *client)
{
    return field->crosses && (client->id == NULL || !http_span_is_word(field->name, ID_HEADER));
}

enum http_refusal http_response_rewrite(const struct http_response *response,
                                        const struct http_client *client, struct http_head *head,
                                        struct http_framing *ret_framing)
{
    const struct http_fields *fields = &response->reader.fields;
    *ret_framing = framing_for(response, client);
    add_status_line(response->status, &head->line);
    for (unsigned i = 0; i < fields->count; i++) {
        if (is_told(&fields->list[i], client)) {
            http_head_add(head, fields->list[i].name, fields->list[i].value);
        }
    }
    add_framing(response, *ret_framing, head);
    if (response->status >= 200 && (!client->keep_alive || ret_framing->body == HTTP_BODY_UNTIL_END)) {
        http_head_add(head, HTTP_SPAN("connection"), HTTP_SPAN("close"));
    }
    if (client->id != NULL) {
        http_head_add(head, HTTP_SPAN(ID_HEADER), http_span_of(client->id));
    }
    head->failed |= head->line.failed || head->bytes.failed;
    return head->failed ? HTTP_REFUSED_NO_MEMORY : HTTP_REFUSED_NONE;
}
