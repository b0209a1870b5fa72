/* Forward routes: where they lead, and what their keys have to do with each other. */
#include "aws/canonical.h"
#include "base/escape.h"
#include "base/units.h"
#include "config/build.h"
#include "config/utf8.h"
#include "http/target.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HTTPS_PORT 443
#define HTTP_PORT  80

static const char url_expected[] = "a URL such as https://results.example.com/v1";

bool forward_prepare(struct build *build, struct config_route *route)
{
    route->forward = build_alloc(build, 1, sizeof *route->forward);
    if (route->forward == NULL) {
        return false;
    }
    http_rules_init(&route->forward->rules);
    build_defaults(build, SCOPE_RETRY, route->forward);
    return true;
}

/* ---- Where it leads ---- */

/* A URL in pieces, which are the text's. */
struct url {
    bool tls;
    struct http_span authority;
    struct http_span path; /* from its "/" on; empty: none */
};

static void tell_url(struct build *build, const struct key *key, const struct node *value, const char *why)
{
    const char *shown = escape_user(value->text);
    build_tell(build, value->place, key->name, "\"%s%.*s\": %s", shown != value->text ? "..." : "",
               utf8_clip(shown), shown, why);
}

static const char *wrong_with(const struct url *url)
{
    const char *end = url->path.data + url->path.size;
    if (memchr(url->authority.data, '@', url->authority.size) != NULL) {
        return "a user or a password in a URL is on display: set an authorization header instead";
    }
    for (const char *c = url->authority.data; c < end; c++) {
        if (*c == '?' || *c == '#') {
            return *c == '?' ? "a query cannot stand here: the requests have their own"
                             : "a fragment means nothing to a server: leave it out";
        }
    }
    return NULL;
}

static bool split_url(struct build *build, const struct key *key, const struct node *value, struct url *ret)
{
    const char *text = value->text;
    bool tls = strncasecmp(text, "https://", 8) == 0;
    if (value->kind != NODE_TEXT || (!tls && strncasecmp(text, "http://", 7) != 0)) {
        build_expected_what(build, key, value, url_expected, NULL);
        return false;
    }
    const char *authority = text + (tls ? 8 : 7);
    size_t size = strcspn(authority, "/");
    *ret = (struct url){.tls = tls,
                        .authority = {.data = authority, .size = size},
                        .path = http_span_of(authority + size)};
    const char *why = wrong_with(ret);
    if (why != NULL) {
        build_tell(build, value->place, key->name, "%s",
                   why); /* without the URL, which may hold a password */
    }
    return why == NULL;
}

/* The scheme's port, where none is given. */
static bool url_address(const struct url *url, struct addr *ret, struct error *err)
{
    char address[TREE_TEXT_MAX + 32];
    struct http_span host;
    uint16_t port = 0;
    if (!http_authority(url->authority, &host, &port)) {
        error_set(err, -EINVAL, "no host, or a port that is none: expected %s", url_expected);
        return false;
    }
    snprintf(address, sizeof address, port != 0 ? "tcp://%.*s" : "tcp://%.*s:%d", (int)url->authority.size,
             url->authority.data, url->tls ? HTTPS_PORT : HTTP_PORT);
    return addr_parse(address, ret, err) == 0;
}

/* For the Host header: as browsers write it, without the scheme's own port. */
static char *authority_of(struct build *build, const struct url *url, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    bool bare = addr->port == (url->tls ? HTTPS_PORT : HTTP_PORT);
    bool brackets = strchr(addr->host, ':') != NULL;
    int length = snprintf(text, sizeof text, "%s%s%s", brackets ? "[" : "", addr->host, brackets ? "]" : "");
    if (!bare) {
        snprintf(text + length, sizeof text - (size_t)length, ":%u", addr->port);
    }
    return build_strdup(build, text);
}

/* In its judged form and without a final "/", since what is asked for begins with one. */
static bool base_path(struct build *build, const struct key *key, const struct node *value,
                      const struct url *url, const char **ret)
{
    struct text path;
    text_init(&path, TREE_TEXT_MAX);
    enum http_refusal why = url->path.size > 0 ? http_path_judge(url->path, &path) : HTTP_REFUSED_NONE;
    if (why == HTTP_REFUSED_NONE) {
        const char *judged = text_string(&path);
        size_t length = strlen(judged);
        char *copy = build_strdup(build, judged);
        if (copy != NULL && length > 0 && copy[length - 1] == '/') {
            copy[length - 1] = '\0';
        }
        *ret = copy;
    } else if (why == HTTP_REFUSED_NO_MEMORY) {
        build->no_memory = true;
    } else {
        tell_url(build, key, value,
                 "the path is no plain one: expected segments that are neither empty, . nor .., of letters, "
                 "digits and what a URL may hold");
    }
    text_release(&path);
    return why == HTTP_REFUSED_NONE;
}

void set_url(struct build *build, const struct key *key, const struct node *value, struct config_route *route)
{
    struct config_forward *forward = route->forward;
    struct error err = ERROR_INIT;
    struct url url;
    if (!split_url(build, key, value, &url)) {
        return;
    }
    if (!url_address(&url, &route->to, &err)) {
        tell_url(build, key, value, err.text);
        return;
    }
    forward->tls = url.tls;
    forward->authority = authority_of(build, &url, &route->to);
    forward->server_name = build_strdup(build, route->to.host);
    (void)base_path(build, key, value, &url, &forward->base_path);
}

/* ---- Signing ---- */

/* As AWS writes services and regions. They are put into the signature as they are. */
void set_name(struct build *build, const struct key *key, const struct node *value, void *object)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    size_t length = strlen(value->text);
    if (value->kind != NODE_TEXT || length == 0 || length > CONFIG_NAME_MAX ||
        strspn(value->text, letters) != length) {
        build_expected(build, key, value, NULL);
        return;
    }
    const char *name = build_strdup(build, value->text);
    memcpy((unsigned char *)object + key->offset, &name, sizeof name);
}

void set_profile(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_sign *sign = object;
    if (value->kind != NODE_TEXT || value->text[0] == '\0' || strpbrk(value->text, "[]") != NULL) {
        build_expected(build, key, value, NULL);
        return;
    }
    sign->profile = build_strdup(build, value->text);
}

/* What the signature sets (forward/signing.h). */
static const char *const signature_headers[] = {"authorization", "x-amz-date", "x-amz-content-sha256",
                                                "x-amz-security-token"};

/* `authorization` under `set` alone is no mistake, as a route that signs sets it anyway: the signature's is sent, and the file's
 * is forgotten, its secret never read. */
static void forget_authorization(struct config_forward *forward, const struct node *node)
{
    struct http_folded folded;
    http_fold(HTTP_SPAN("authorization"), &folded);
    http_header_rules_drop_value(&forward->rules.headers, &folded);
    forward->sign->unsent = node->key_place;
}

static void check_signed_headers(struct build *build, const struct node *headers,
                                 struct config_forward *forward)
{
    static const char *const maps[] = {"set", "add"};
    for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
        const struct node *map = headers != NULL ? tree_get(headers, maps[i]) : NULL;
        for (const struct node *node = map != NULL ? map->first : NULL; node != NULL; node = node->next) {
            for (size_t j = 0; j < ARRAY_SIZE(signature_headers) && node->key != NULL; j++) {
                if (strcasecmp(node->key, signature_headers[j]) != 0) {
                    continue;
                }
                if (i == 0 && j == 0) {
                    forget_authorization(forward, node);
                } else {
                    build_tell(build, node->key_place, "headers",
                               "%s is the signature\'s: leave it out, or `sign`", signature_headers[j]);
                }
            }
        }
    }
}

/* None of them comes from the enclave, not by another spelling either. Those that have a rule already were judged above. */
static void take_signed_headers(struct build *build, const struct node *sign, struct http_header_rules *rules)
{
    for (size_t i = 0; i < ARRAY_SIZE(signature_headers); i++) {
        struct http_folded folded;
        struct error err = ERROR_INIT;
        http_fold(http_span_of(signature_headers[i]), &folded);
        if (http_header_rules_find(rules, &folded) != HTTP_HEADER_NONE) {
            continue;
        }
        int r = http_header_rules_add(rules, HTTP_HEADER_REMOVE, signature_headers[i], NULL, &err);
        if (r == -ENOMEM) {
            build->no_memory = true;
        } else if (r != 0) {
            build_tell(build, sign->key_place, "sign", "%s", err.text);
        }
    }
}

static void check_sign(struct build *build, const struct node *map, struct config_forward *forward)
{
    struct config_sign *sign = forward->sign;
    const struct node *aws = tree_get(tree_get(map, "sign"), "aws");
    const struct node *file = tree_get(aws, "file");
    const struct node *profile = tree_get(aws, "profile");
    bool from_file =
        sign->credentials == CONFIG_CREDENTIALS_AUTO || sign->credentials == CONFIG_CREDENTIALS_FILE;
    if (sign->payload == CONFIG_PAYLOAD_UNSIGNED && !forward->tls) {
        build_tell(
            build, tree_get(aws, "payload")->place, "sign.aws.payload",
            "without TLS anybody on the way could change a body that is not signed: expected signed, or "
            "an https URL in `to`");
    }
    sign->unsigned_payload =
        sign->payload == CONFIG_PAYLOAD_UNSIGNED || (sign->payload == CONFIG_PAYLOAD_AUTO && forward->tls &&
                                                     sign->service != NULL && aws_is_s3(sign->service));
    for (size_t i = 0; i < 2; i++) {
        const struct node *node = i == 0 ? file : profile;
        if (node != NULL && !from_file) {
            build_tell(build, node->key_place, i == 0 ? "sign.aws.file" : "sign.aws.profile",
                       "this key goes with `credentials: file` only");
        }
    }
    check_signed_headers(build, tree_get(map, "headers"), forward);
    take_signed_headers(build, tree_get(map, "sign"), &forward->rules.headers);
}

/* ---- Across keys ---- */

static void check_tls(struct build *build, const struct node *map, const struct config_forward *forward)
{
    const struct node *tls = tree_get(map, "tls");
    const struct node *cert = tree_get(tls, "cert");
    const struct node *key = tree_get(tls, "key");
    if (!forward->tls) {
        build_tell(build, tls->key_place, "tls",
                   "there is no TLS to an http URL: remove this key, or write https in `to`");
    }
    if ((cert == NULL) != (key == NULL)) {
        const struct node *alone = cert != NULL ? cert : key;
        build_tell(build, alone->key_place, "tls",
                   "a certificate and its key belong together: expected `%s` too",
                   cert != NULL ? "key" : "cert");
    }
}

/* What the enclave was answered is what the upstream tells a second delivery by. */
static void check_key_header(struct build *build, const struct node *map,
                             const struct config_forward *forward)
{
    struct http_folded folded;
    http_fold(http_span_of("idempotency-key"), &folded);
    if (forward->delivery == CONFIG_SPOOL &&
        http_header_rules_find(&forward->rules.headers, &folded) != HTTP_HEADER_NONE) {
        build_tell(build, tree_get(map, "headers")->key_place, "headers",
                   "with `delivery: spool`, idempotency-key is each record's own: leave it out");
    }
}

static void check_spool(struct build *build, const struct node *map, const struct config_forward *forward)
{
    static const char *const keys[] = {"retry", "in_flight", "max_spool"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const struct node *node = tree_get(map, keys[i]);
        if (node != NULL && forward->delivery != CONFIG_SPOOL) {
            build_tell(build, node->key_place, keys[i], "this key goes with `delivery: spool` only");
        }
    }
    if (forward->retry.min_pause_ms > forward->retry.max_pause_ms) {
        const struct node *retry = tree_get(map, "retry");
        build_tell(build, retry->key_place, "retry",
                   "min_pause is longer than max_pause: expected the shorter one first");
    }
}

void forward_check(struct build *build, const struct node *map, struct config_route *route)
{
    struct config_forward *forward = route->forward;
    if (tree_get(map, "to") == NULL) {
        build_tell(build, map->key_place, NULL, "the key `to` is missing: expected %s", url_expected);
    }
    if (forward->rules.limits.body == 0) {
        forward->rules.limits.body = UINT64_MAX; /* the word "none" */
    }
    if (route->to.kind == ADDR_NONE) {
        return; /* told, and the rest depends on it */
    }
    if (tree_get(map, "tls") != NULL) {
        check_tls(build, map, forward);
    }
    if (forward->sign != NULL) {
        check_sign(build, map, forward);
    }
    check_spool(build, map, forward);
    check_key_header(build, map, forward);
}

/* ---- Across routes ---- */

/* One enclave has at most half of `limits.body_memory` (forward/body_memory.h). The default of `max_body` always fits. */
static void check_body(struct build *build, const struct node *node, uint64_t size)
{
    char all[UNITS_TEXT_MAX], body[UNITS_TEXT_MAX];
    uint64_t most = build->config->body_memory / 2;
    if (size >= most) { /* which has a terminator */
        build_tell(build, node->place, "sign.aws.max_body",
                   "a body of %s never fits into half of `limits.body_memory`, which is %s: raise that, or "
                   "expected a smaller body",
                   units_format_size(size, body), units_format_size(build->config->body_memory, all));
    }
}

void forward_check_memory(struct build *build, const struct node *root)
{
    const struct node *routes = tree_get(root, "routes");
    const struct node *map = routes != NULL ? routes->first : NULL;
    build->section = key_sections[SCOPE_ROUTE].name;
    for (unsigned i = 0; i < build->config->route_count && map != NULL; i++, map = map->next) {
        const struct config_route *route = &build->config->routes[i];
        const struct node *sign = route->forward != NULL ? tree_get(map, "sign") : NULL;
        const struct node *aws = sign != NULL ? tree_get(sign, "aws") : NULL;
        const struct node *body = aws != NULL ? tree_get(aws, "max_body") : NULL;
        build->entry = route->name;
        if (body != NULL && route->forward->sign != NULL) {
            check_body(build, body, route->forward->sign->body_max);
        }
    }
    build->section = build->entry = NULL;
}
