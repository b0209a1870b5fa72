/* The words that the daemon says: see words.h. */
#include "ctl/words.h"

#include "base/compiler.h"
#include "base/diag.h"
#include "base/error.h"
#include "base/reason.h"
#include "ctl/ends.h"
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

/* How a session or a delivery ended is one word, too, but no reason of a stream. */
struct ends {
    const char *of, *plural; /* what */
    const struct end_words *words;
    const size_t *count;
};

static const struct ends all_ends[] = {{"session", "sessions", session_ends, &session_end_count},
                                       {"delivery", "deliveries", delivery_ends, &delivery_end_count}};

static json_t *end_json(const struct end_words *end, const char *of)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "code", end->code, "kind", of, "meaning", end->meaning, "advice",
                     end->advice);
}

static const struct end_words *find_end(const char *word, const char **ret_of)
{
    for (size_t i = 0; i < ARRAY_SIZE(all_ends); i++) {
        for (size_t j = 0; j < *all_ends[i].count; j++) {
            if (strcmp(all_ends[i].words[j].code, word) == 0) {
                *ret_of = all_ends[i].of;
                return &all_ends[i].words[j];
            }
        }
    }
    return NULL;
}

static int explain_end(const struct ctl *ctl, const struct end_words *end, const char *of)
{
    if (ctl->json) {
        return ctl_print_json(ctl, end_json(end, of));
    }
    fprintf(ctl->out, "%s, of a %s: %s.\nWhat to do: %s.\n", end->code, of, end->meaning, end->advice);
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
    for (size_t i = 0; i < ARRAY_SIZE(all_ends); i++) {
        for (size_t j = 0; j < *all_ends[i].count && count < WORDS_MAX; j++) {
            words[count++] = all_ends[i].words[j].code;
        }
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
    const char *of = NULL;
    const struct end_words *end = find_end(word, &of);
    enum http_refusal refusal = http_refusal_find(word);
    int r = CTL_DONE;
    if (reason != REASON_COUNT) {
        r = explain_reason(ctl, reason);
    } else if (end != NULL) {
        return explain_end(ctl, end, of);
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
    for (size_t i = 0; i < ARRAY_SIZE(all_ends); i++) {
        for (size_t j = 0; j < *all_ends[i].count; j++) {
            r |= json_array_append_new(list, end_json(&all_ends[i].words[j], all_ends[i].of));
        }
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
        for (size_t i = 0; i < ARRAY_SIZE(all_ends); i++) {
            fprintf(ctl->out, "\nOf %s:\n", all_ends[i].plural);
            for (size_t j = 0; j < *all_ends[i].count; j++) {
                fprintf(ctl->out, "%-20s %s\n", all_ends[i].words[j].code, all_ends[i].words[j].meaning);
            }
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
