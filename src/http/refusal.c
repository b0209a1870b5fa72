/* The table of refusals, and the answer that an enclave gets. */
#include "http/refusal.h"
#include "base/compiler.h"
#include "http/status.h"
#include <string.h>

static const struct row {
    const char *word;
    unsigned status;
    const char *meaning;
    const char *advice;
} rows[HTTP_REFUSED_COUNT] = {[HTTP_REFUSED_NONE] = {"", 200, "", ""},
#define X(id, word, status, meaning, advice) [HTTP_REFUSED_##id] = {word, status, meaning, advice},
                              HTTP_REFUSAL_TABLE(X)
#undef X
};

const char *http_refusal_word(enum http_refusal refusal)
{
    return rows[refusal].word;
}

unsigned http_refusal_status(enum http_refusal refusal)
{
    return rows[refusal].status;
}

const char *http_refusal_meaning(enum http_refusal refusal)
{
    return rows[refusal].meaning;
}

const char *http_refusal_advice(enum http_refusal refusal)
{
    return rows[refusal].advice;
}

enum http_refusal http_refusal_find(const char *word)
{
    for (size_t i = 1; i < HTTP_REFUSED_COUNT; i++) {
        if (strcmp(rows[i].word, word) == 0) {
            return (enum http_refusal)i;
        }
    }
    return HTTP_REFUSED_NONE;
}

static void add_member(struct text *out, const char *name, const char *value)
{
    if (value != NULL) {
        text_addf(out, ",\"%s\":\"", name);
        text_add_json(out, value, strlen(value));
        text_add_char(out, '"');
    }
}

/* RFC 9457, with two members of our own: the word and the advice. */
static void add_problem(enum http_refusal refusal, const struct http_refusal_note *note, struct text *out)
{
    const struct row *row = &rows[refusal];
    text_addf(out, "{\"title\":\"%s\",\"status\":%u", http_status_words(row->status), row->status);
    add_member(out, "code", row->word);
    add_member(out, "detail", note->detail != NULL ? note->detail : row->meaning);
    add_member(out, "advice", row->advice);
    add_member(out, "request_id", note->request_id);
    text_add(out, "}\n");
}

static void add_header(struct text *out, const char *name, const char *value)
{
    if (value != NULL) {
        text_addf(out, "%s: %s\r\n", name, value);
    }
}

void http_refusal_answer(enum http_refusal refusal, const struct http_refusal_note *note, struct text *out)
{
    const struct row *row = &rows[refusal];
    struct text body = TEXT_INIT;
    add_problem(refusal, note, &body);
    text_addf(out, "HTTP/1.1 %u %s\r\n", row->status, http_status_words(row->status));
    add_header(out, "date", note->date);
    add_header(out, "x-request-id", note->request_id);
    add_header(out, "allow", row->status == 405 ? note->allow : NULL);
    if (note->retry_after_s > 0) {
        text_addf(out, "retry-after: %u\r\n", note->retry_after_s);
    }
    text_addf(out,
              "content-type: application/problem+json\r\ncontent-length: %zu\r\ncache-control: no-store\r\n"
              "connection: close\r\n\r\n",
              body.length);
    if (!note->head_only) {
        text_add_bytes(out, text_string(&body), body.length);
    }
    out->failed |= body.failed;
    text_release(&body);
}
