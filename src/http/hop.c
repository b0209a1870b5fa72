/* What never crosses from one connection to the next. */
#include "http/hop.h"

/* What has to reach the other end cannot be named. */
static enum http_refusal judge_option(struct http_span option, const struct http_header_rules *rules,
                                      struct http_hop *hop)
{
    struct http_folded folded;
    if (!http_span_all(option, HTTP_TOKEN)) {
        return HTTP_REFUSED_CONNECTION;
    }
    http_fold(option, &folded);
    enum http_name known = http_name_find(&folded);
    bool needed = known != HTTP_NAME_OTHER && (http_name_traits(known) & HTTP_TRAIT_HOP) == 0;
    if (needed || http_header_rules_find(rules, &folded) != HTTP_HEADER_NONE) {
        return HTTP_REFUSED_CONNECTION;
    }
    hop->close |= http_span_is_word(option, "close");
    hop->keep_alive |= http_span_is_word(option, "keep-alive");
    hop->upgrade |= http_span_is_word(option, "upgrade");
    return HTTP_REFUSED_NONE;
}

static void drop(struct http_fields *fields, struct http_span name)
{
    for (unsigned i = 0; i < fields->count; i++) {
        struct http_field *field = &fields->list[i];
        field->crosses &= !http_span_same_word(field->name, name);
    }
}

static enum http_refusal judge_options(struct http_fields *fields, struct http_span list,
                                       const struct http_header_rules *rules, struct http_hop *hop,
                                       unsigned *count)
{
    struct http_span option;
    while (http_list_next(&list, &option)) {
        if (option.size == 0) {
            continue;
        }
        enum http_refusal why = judge_option(option, rules, hop);
        if (why != HTTP_REFUSED_NONE) {
            return why;
        }
        if (++*count > HTTP_OPTIONS_MAX) {
            return HTTP_REFUSED_CONNECTION;
        }
        drop(fields, option);
    }
    return HTTP_REFUSED_NONE;
}

static enum http_refusal judge_name(struct http_field *field, const struct http_header_rules *rules)
{
    struct http_folded folded;
    http_fold(field->name, &folded);
    field->known = http_name_find(&folded);
    unsigned traits = http_name_traits(field->known);
    enum http_header_action action = http_header_rules_find(rules, &folded);
    if (folded.odd && (field->known != HTTP_NAME_OTHER || action != HTTP_HEADER_NONE)) {
        return HTTP_REFUSED_CONFUSABLE;
    }
    field->crosses = (traits & (HTTP_TRAIT_HOP | HTTP_TRAIT_FRAMING)) == 0 &&
                     (action == HTTP_HEADER_NONE || action == HTTP_HEADER_ADD);
    return HTTP_REFUSED_NONE;
}

enum http_refusal http_hop_judge(struct http_fields *fields, const struct http_header_rules *rules,
                                 struct http_hop *ret)
{
    unsigned options = 0;
    enum http_refusal why = HTTP_REFUSED_NONE;
    *ret = (struct http_hop){.close = false};
    for (unsigned i = 0; i < fields->count && why == HTTP_REFUSED_NONE; i++) {
        why = judge_name(&fields->list[i], rules);
        ret->upgrade |= fields->list[i].known == HTTP_NAME_UPGRADE;
    }
    for (unsigned i = 0; i < fields->count && why == HTTP_REFUSED_NONE; i++) {
        if (fields->list[i].known == HTTP_NAME_CONNECTION) {
            why = judge_options(fields, fields->list[i].value, rules, ret, &options);
        }
    }
    return why;
}

enum http_refusal http_trailer_name_judge(struct http_span name, const struct http_header_rules *rules)
{
    struct http_folded folded;
    http_fold(name, &folded);
    bool counts = http_name_find(&folded) != HTTP_NAME_OTHER;
    bool ruled = http_header_rules_find(rules, &folded) != HTTP_HEADER_NONE;
    return counts || ruled ? HTTP_REFUSED_TRAILER : HTTP_REFUSED_NONE;
}

enum http_refusal http_trailers_judge(struct http_fields *trailers, const struct http_header_rules *rules)
{
    for (unsigned i = 0; i < trailers->count; i++) {
        enum http_refusal why = http_trailer_name_judge(trailers->list[i].name, rules);
        if (why != HTTP_REFUSED_NONE) {
            return why;
        }
        trailers->list[i].crosses = true;
    }
    return HTTP_REFUSED_NONE;
}

enum http_refusal http_framing_judge(const struct http_field *length, const struct http_field *coding,
                                     unsigned minor, struct http_framing *ret)
{
    *ret = (struct http_framing){.body = HTTP_BODY_NONE};
    if (length != NULL && coding != NULL) {
        return HTTP_REFUSED_BOTH_LENGTHS;
    }
    if (coding != NULL) {
        ret->body = HTTP_BODY_CHUNKED;
        return minor == 1 && http_span_is_word(coding->value, "chunked") ? HTTP_REFUSED_NONE
                                                                         : HTTP_REFUSED_TRANSFER_ENCODING;
    }
    if (length != NULL) {
        bool good = http_span_number(length->value, &ret->length);
        ret->body = ret->length > 0 ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
        return good ? HTTP_REFUSED_NONE : HTTP_REFUSED_CONTENT_LENGTH;
    }
    return HTTP_REFUSED_NONE;
}
