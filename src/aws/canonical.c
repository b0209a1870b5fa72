/* The canonical form of a request: see canonical.h. */
#include "aws/canonical.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Stands between a parameter's name and value while they are sorted: below every byte of an encoded text, so that
 * a name comes before a longer one that begins with it. */
#define BETWEEN '\1'

/* ---- Encoding ---- */

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static void add_encoded(struct text *out, unsigned char c)
{
    if (is_unreserved(c)) {
        text_add_char(out, (char)c);
    } else {
        text_addf(out, "%%%02X", c);
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at `*at`, with its percent-encoding undone. A per cent sign that encodes nothing stands for itself. */
static unsigned char next_decoded(const char **at, const char *end)
{
    const char *p = *at;
    if (*p == '%' && end - p >= 3 && hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0) {
        *at = p + 3;
        return (unsigned char)(hex_value(p[1]) * 16 + hex_value(p[2]));
    }
    *at = p + 1;
    return (unsigned char)*p;
}

static void add_recoded(struct text *out, const char *at, const char *end, const char *kept)
{
    while (at < end) {
        unsigned char c = next_decoded(&at, end);
        if (c != '\0' && strchr(kept, c) != NULL) {
            text_add_char(out, (char)c);
        } else {
            add_encoded(out, c);
        }
    }
}

/* ---- The path ---- */

/* Takes the last segment of what was added since `begin` away: "..", which stops at the root. */
static void drop_segment(struct text *out, size_t begin)
{
    while (out->length > begin && out->data[out->length - 1] != '/') {
        out->length--;
    }
    if (out->length > begin) {
        out->length--;
    }
}

static bool is_segment(const char *segment, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(segment, word, length) == 0;
}

static void add_segment(struct text *out, size_t begin, const char *segment, size_t length)
{
    if (length == 0 || is_segment(segment, length, ".")) {
        return;
    }
    if (is_segment(segment, length, "..")) {
        drop_segment(out, begin);
        return;
    }
    text_add_char(out, '/');
    for (size_t i = 0; i < length; i++) {
        add_encoded(out, (unsigned char)segment[i]);
    }
}

/* Without empty and dot segments (RFC 3986, 5.2.4), each byte encoded. A slash at the end stays. */
static void add_normalised_path(struct text *out, const char *path, const char *end)
{
    size_t begin = out->length;
    const char *at = path, *last = path;
    while (at < end) {
        last = at + 1;
        const char *slash = memchr(last, '/', (size_t)(end - last));
        at = slash != NULL ? slash : end;
        add_segment(out, begin, last, (size_t)(at - last));
    }
    size_t length = (size_t)(end - last);
    bool open = length == 0 || is_segment(last, length, ".") || is_segment(last, length, "..");
    if (out->length == begin || open) {
        text_add_char(out, '/');
    }
}

/* ---- The query ---- */

struct parameters {
    struct text text; /* encoded, each with its terminator */
    size_t at[AWS_PARAMETERS_MAX];
    const char *sorted[AWS_PARAMETERS_MAX];
    size_t count;
};

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int take_parameter(struct parameters *parameters, const char *at, const char *end)
{
    if (parameters->count == AWS_PARAMETERS_MAX) {
        return -E2BIG;
    }
    const char *equals = memchr(at, '=', (size_t)(end - at));
    parameters->at[parameters->count++] = parameters->text.length;
    add_recoded(&parameters->text, at, equals != NULL ? equals : end, "");
    text_add_char(&parameters->text, BETWEEN);
    if (equals != NULL) {
        add_recoded(&parameters->text, equals + 1, end, "");
    }
    text_add_char(&parameters->text, '\0');
    return parameters->text.failed ? -ENOMEM : 0;
}

static int take_parameters(struct parameters *parameters, const char *at)
{
    int rv = 0;
    while (*at != '\0' && rv == 0) {
        const char *end = at + strcspn(at, "&");
        if (end > at) {
            rv = take_parameter(parameters, at, end);
        }
        at = *end == '&' ? end + 1 : end;
    }
    return rv;
}

static void add_sorted(struct text *out, struct parameters *parameters)
{
    for (size_t i = 0; i < parameters->count; i++) {
        parameters->sorted[i] = parameters->text.data + parameters->at[i];
    }
    qsort(parameters->sorted, parameters->count, sizeof parameters->sorted[0], compare_texts);
    for (size_t i = 0; i < parameters->count; i++) {
        const char *between = strchr(parameters->sorted[i], BETWEEN);
        text_add(out, i > 0 ? "&" : "");
        text_add_bytes(out, parameters->sorted[i], (size_t)(between - parameters->sorted[i]));
        text_add_char(out, '=');
        text_add(out, between + 1);
    }
}

static int add_query(struct text *out, const char *query, struct error *err)
{
    struct parameters *parameters = calloc(1, sizeof *parameters);
    if (parameters == NULL) {
        return error_errno(err, -ENOMEM, "signing a request: its query");
    }
    int rv = take_parameters(parameters, query);
    if (rv == 0) {
        add_sorted(out, parameters);
    } else if (rv == -E2BIG) {
        error_set(err, rv, "signing a request: its query has more than %d parameters", AWS_PARAMETERS_MAX);
    } else {
        error_errno(err, rv, "signing a request: its query");
    }
    text_release(&parameters->text);
    free(parameters);
    return rv;
}

/* ---- The headers ---- */

/* What a proxy on the way may add, drop or change, and so would break the signature. */
static bool is_left_out(const char *name)
{
    static const char *const names[] = {"connection",
                                        "expect",
                                        "keep-alive",
                                        "proxy-authenticate",
                                        "proxy-authorization",
                                        "te",
                                        "trailer",
                                        "transfer-encoding",
                                        "upgrade",
                                        "user-agent",
                                        "x-amzn-trace-id"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int compare_names(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return (unsigned char)lower(*a) - (unsigned char)lower(*b);
}

/* By name, and those of one name in the order in which they came. */
static int compare_headers(const void *left, const void *right)
{
    const struct aws_header *a = *(const struct aws_header *const *)left;
    const struct aws_header *b = *(const struct aws_header *const *)right;
    int order = compare_names(a->name, b->name);
    return order != 0 ? order : (a > b) - (a < b);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Without blanks at either end, and with one space for every run of them. */
static void add_value(struct text *out, const char *value)
{
    bool begun = false, gap = false;
    for (; *value != '\0'; value++) {
        if (is_blank(*value)) {
            gap = begun;
            continue;
        }
        if (gap) {
            text_add_char(out, ' ');
        }
        text_add_char(out, *value);
        begun = true;
        gap = false;
    }
}

static void add_name(struct text *out, const char *name)
{
    for (; *name != '\0'; name++) {
        text_add_char(out, lower(*name));
    }
}

/* `sorted` ends with NULL. */
static void add_headers(struct text *out, struct text *names, const struct aws_header **sorted)
{
    const char *before = NULL;
    for (; *sorted != NULL; sorted++) {
        const char *name = (*sorted)->name;
        if (before != NULL && compare_names(name, before) == 0) {
            text_add_char(out, ',');
        } else {
            text_add(out, before != NULL ? "\n" : "");
            text_add(names, before != NULL ? ";" : "");
            add_name(out, name);
            add_name(names, name);
            text_add_char(out, ':');
        }
        add_value(out, (*sorted)->value);
        before = name;
    }
    text_add(out, before != NULL ? "\n" : "");
}

/* A token (RFC 9110, 5.6.2): no name can be taken for the end of the list of names, or for two. */
static bool is_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && strspn(name, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "abcdefghijklmnopqrstuvwxyz") == length;
}

static bool is_well_formed(const struct aws_header *header)
{
    return is_name(header->name) && strpbrk(header->value, "\r\n") == NULL;
}

/* Those that are signed, sorted. `sorted` comes with NULLs. */
static int sort_headers(const struct aws_request *request,
                        const struct aws_header *sorted[AWS_HEADERS_MAX + 1], struct error *err)
{
    size_t count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        const struct aws_header *header = &request->headers[i];
        if (is_left_out(header->name)) {
            continue;
        }
        if (!is_well_formed(header)) {
            return error_set(
                err, -EINVAL,
                "signing a request: a header's name is none, or its value has a line break in it");
        }
        if (count == AWS_HEADERS_MAX) {
            return error_set(err, -E2BIG, "signing a request: it has more than %d headers", AWS_HEADERS_MAX);
        }
        sorted[count++] = header;
    }
    qsort(sorted, count, sizeof(struct aws_header *), compare_headers);
    return 0;
}

bool aws_is_s3(const char *service)
{
    static const char *const names[] = {"s3", "s3express", "s3-outposts", "s3-object-lambda"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strcmp(service, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

void aws_encode_path(const char *path, size_t size, struct text *out)
{
    add_recoded(out, path, path + size, "/");
}

int aws_canonical(const struct aws_request *request, bool as_is, struct text *out, struct text *names,
                  struct error *err)
{
    const struct aws_header *sorted[AWS_HEADERS_MAX + 1] = {NULL};
    const char *path = request->target;
    const char *path_end = path + strcspn(path, "?");
    if (*path != '/') {
        return error_set(err, -EINVAL, "signing a request: its target does not begin with a slash");
    }
    int rv = sort_headers(request, sorted, err);
    if (rv != 0) {
        return rv;
    }
    text_add(out, request->method);
    text_add_char(out, '\n');
    if (as_is) {
        aws_encode_path(path, (size_t)(path_end - path), out);
    } else {
        add_normalised_path(out, path, path_end);
    }
    text_add_char(out, '\n');
    rv = *path_end == '?' ? add_query(out, path_end + 1, err) : 0;
    if (rv != 0) {
        return rv;
    }
    text_add_char(out, '\n');
    add_headers(out, names, sorted);
    text_add_char(out, '\n');
    text_add(out, text_string(names));
    text_add_char(out, '\n');
    text_add(out, request->payload_hash);
    return out->failed || names->failed ? error_errno(err, -ENOMEM, "signing a request") : 0;
}
