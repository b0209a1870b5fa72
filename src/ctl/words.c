/* The words that the daemon says: see words.h. */
#include "ctl/words.h"

#include "base/diag.h"
#include "base/error.h"
#include "base/reason.h"
#include "ctl/session_ends.h"
#include "http/refusal.h"
#include <jansson.h>
#include <string.h>

static const char *const kinds[] = {"end",   "policy", "dns",      "connect",
                                    "limit", "time",   "shutdown", "internal"};

static json_t *reason_json(enum reason reason)
{
    return json_pack("{s:s, s:s, s:b, s:s, s:s}", "code", reason_word(reason), "kind",
                     kinds[reason_kind(reason)], "retryable", reason_retryable(reason), "meaning",
                     reason_meaning(reason), "advice", reason_advice(reason));
}

/* How a session ended is one word, too, but no reason of a stream. */
static json_t *session_end_json(const struct session_end_words *end)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "code", end->code, "kind", "session", "meaning", end->meaning,
                     "advice", end->advice);
}

static const struct session_end_words *find_session_end(const char *word)
{
    for (size_t i = 0; i < session_end_count; i++) {
        if (strcmp(session_ends[i].code, word) == 0) {
            return &session_ends[i];
        }
    }
    return NULL;
}

static int explain_session_end(const struct ctl *ctl, const struct session_end_words *end)
{
    if (ctl->json) {
        return ctl_print_json(ctl, session_end_json(end));
    }
    fprintf(ctl->out, "%s, of a session: %s.\nWhat to do: %s.\n", end->code, end->meaning, end->advice);
    return CTL_DONE;
}

/* Why a request was not forwarded, or not answered. Some of the words are reasons of streams, too. */
static json_t *refusal_json(enum http_refusal refusal)
{
    return json_pack("{s:s, s:s, s:i, s:s, s:s}", "code", http_refusal_word(refusal), "kind", "request",
                     "status", (int)http_refusal_status(refusal), "meaning", http_refusal_meaning(refusal),
                     "advice", http_refusal_advice(refusal));
}

static int explain_refusal(const struct ctl *ctl, enum http_refusal refusal)
{
    if (ctl->json) {
        return ctl_print_json(ctl, refusal_json(refusal));
    }
    fprintf(ctl->out, "%s, of a request, answered with %u: %s.\nWhat to do: %s.\n",
            http_refusal_word(refusal), http_refusal_status(refusal), http_refusal_meaning(refusal),
            http_refusal_advice(refusal));
    return CTL_DONE;
}

#define WORDS_MAX 256

static int unknown_code(const struct ctl *ctl, const char *word)
{
    const char *words[WORDS_MAX];
    size_t count = 0;
    struct error err = ERROR_INIT;
    for (; count < REASON_COUNT; count++) {
        words[count] = reason_word((enum reason)count);
    }
    for (size_t i = 0; i < session_end_count && count < WORDS_MAX; i++) {
        words[count++] = session_ends[i].code;
    }
    for (unsigned i = HTTP_REFUSED_NONE + 1; i < HTTP_REFUSED_COUNT && count < WORDS_MAX; i++) {
        words[count++] = http_refusal_word((enum http_refusal)i);
    }
    const char *nearest = diags_nearest(word, words, count);
    error_set(&err, 0, "there is no reason \"%s\"%s%s%s `posternctl explain` lists them all", word,
              nearest != NULL ? ": did you mean " : "", nearest != NULL ? nearest : "",
              nearest != NULL ? "?" : ";");
    return ctl_failed(ctl, err.text);
}

static int explain_reason(const struct ctl *ctl, enum reason reason)
{
    if (ctl->json) {
        return ctl_print_json(ctl, reason_json(reason));
    }
    fprintf(ctl->out, "%s: %s.\nWhat to do: %s.\n%s\n", reason_word(reason), reason_meaning(reason),
            reason_advice(reason),
            reason_retryable(reason) ? "Trying again may help." : "Trying again does not help.");
    return CTL_DONE;
}

/* In JSON the first meaning alone: it is one object. */
int words_explain(const struct ctl *ctl, const char *word)
{
    enum reason reason = reason_find(word);
    const struct session_end_words *end = find_session_end(word);
    enum http_refusal refusal = http_refusal_find(word);
    int r = CTL_DONE;
    if (reason != REASON_COUNT) {
        r = explain_reason(ctl, reason);
    } else if (end != NULL) {
        return explain_session_end(ctl, end);
    } else if (refusal == HTTP_REFUSED_NONE) {
        return unknown_code(ctl, word);
    }
    if (refusal != HTTP_REFUSED_NONE && (reason == REASON_COUNT || !ctl->json)) {
        r = explain_refusal(ctl, refusal);
    }
    return r;
}

static json_t *all_codes_json(void)
{
    json_t *list = json_array();
    int r = 0;
    for (unsigned i = 0; i < REASON_COUNT; i++) {
        r |= json_array_append_new(list, reason_json((enum reason)i));
    }
    for (size_t i = 0; i < session_end_count; i++) {
        r |= json_array_append_new(list, session_end_json(&session_ends[i]));
    }
    for (unsigned i = HTTP_REFUSED_NONE + 1; i < HTTP_REFUSED_COUNT; i++) {
        r |= json_array_append_new(list, refusal_json((enum http_refusal)i));
    }
    if (r != 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

int words_list(const struct ctl *ctl)
{
    if (!ctl->json) {
        for (unsigned i = 0; i < REASON_COUNT; i++) {
            fprintf(ctl->out, "%-20s %s\n", reason_word((enum reason)i), reason_meaning((enum reason)i));
        }
        fputs("\nOf sessions:\n", ctl->out);
        for (size_t i = 0; i < session_end_count; i++) {
            fprintf(ctl->out, "%-20s %s\n", session_ends[i].code, session_ends[i].meaning);
        }
        fputs("\nOf requests:\n", ctl->out);
        for (unsigned i = HTTP_REFUSED_NONE + 1; i < HTTP_REFUSED_COUNT; i++) {
            fprintf(ctl->out, "%-23s %s\n", http_refusal_word((enum http_refusal)i),
                    http_refusal_meaning((enum http_refusal)i));
        }
        return CTL_DONE;
    }
    return ctl_print_json(ctl, all_codes_json());
}
