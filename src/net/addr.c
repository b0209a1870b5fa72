/*
 * Reading addresses.
 *
 * Every refusal names the mistake, the form that was expected and, where one can be made out, the
 * address that was probably meant. A suggestion is shown only after it has parsed itself, so that what
 * the message proposes always works.
 */
#include "net/addr.h"
#include "base/diag.h"
#include "base/escape.h"
#include "base/units.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define ENCLAVE_NAME_MAX 63
#define LABEL_MAX        63
#define SUN_PATH_MAX     (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)
#define SHOWN_MAX        120 /* bytes of an address that a message repeats */
#define VSOCK_PORT_MAX   (VMADDR_PORT_ANY - 1)
#define TCP_PORT_MAX     65535

/* One address being read. */
struct reading {
    const char *text; /* the whole of it */
    const char *expected;
    struct error *err;
    bool listening; /* tcp port 0 is welcome */
};

struct form {
    const char *name; /* of the scheme */
    const char *expected;
    int (*parse)(const struct reading *reading, const char *rest, struct addr *ret);
};

static const char any_form[] = "vsock://CID:PORT, unix:///PATH, tcp://HOST:PORT or hybrid:///PATH:PORT";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_printable(char c)
{
    return c >= 0x20 && c < 0x7f;
}

static bool all_digits(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i])) {
            return false;
        }
    }
    return length > 0;
}

static void lower(char *text)
{
    for (; *text != '\0'; text++) {
        if (is_upper(*text)) {
            *text = (char)(*text - 'A' + 'a');
        }
    }
}

/* ---- What a message shows ---- */

/* In quotes, without a password, cut where it is long, and with nothing in it that could play tricks on a terminal. */
static const char *shown(const char *whole, char buffer[SHOWN_MAX + 12])
{
    const char *text = escape_user(whole);
    size_t n = (size_t)snprintf(buffer, 8, "\"%s", text != whole ? "..." : "");
    for (; *text != '\0' && n <= SHOWN_MAX; text++) {
        buffer[n++] = is_printable(*text) ? *text : '?';
    }
    snprintf(buffer + n, 8, "%s", *text != '\0' ? "...\"" : "\"");
    return buffer;
}

static int read_address(const char *text, bool listening, struct addr *ret, struct error *err);

/* A suggestion that cannot be read back, or not be shown as it is, is none. */
static bool suggestion_holds(const struct reading *reading, const char *suggestion)
{
    struct addr addr;
    size_t length = strlen(suggestion);

    if (length > SHOWN_MAX || escape_user(reading->text) != reading->text) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_printable(suggestion[i])) {
            return false;
        }
    }
    return read_address(suggestion, reading->listening, &addr, NULL) == 0;
}

/* Refuses the address. `format` makes the suggestion. */
PRINTF_LIKE(3, 4)
static int refuse(const struct reading *reading, const char *problem, const char *format, ...)
{
    char suggestion[ADDR_TEXT_MAX] = "";
    char address[SHOWN_MAX + 12];
    va_list args;
    bool holds;

    if (reading->err == NULL) {
        return -EINVAL;
    }
    va_start(args, format);
    int length = vsnprintf(suggestion, sizeof(suggestion), format, args);
    va_end(args);
    holds = length > 0 && (size_t)length < sizeof(suggestion) && suggestion_holds(reading, suggestion);
    return error_set(reading->err, -EINVAL, "%s: %s; expected %s%s%s", shown(reading->text, address), problem,
                     reading->expected, holds ? ", such as " : "", holds ? suggestion : "");
}

static int refuse_plainly(const struct reading *reading, const char *problem)
{
    return refuse(reading, problem, "%s", "");
}

/* ---- Numbers and names ---- */

/* A zero in front is refused: some programs would read an octal number. */
static bool parse_number(const char *text, uint64_t max, uint32_t *ret)
{
    uint64_t value;

    if (text[0] == '0' && text[1] != '\0') {
        return false;
    }
    if (units_parse_u64(text, max, &value) != 0) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* 32 bits, as vsock and hybrid have them. */
static int parse_vsock_port(const struct reading *reading, const char *text, uint32_t *ret)
{
    if (strcmp(text, "4294967295") == 0) {
        return refuse_plainly(reading, "port 4294967295 means \"any port\" to the kernel, and is none");
    }
    if (!parse_number(text, VSOCK_PORT_MAX, ret) || *ret == 0) {
        return refuse_plainly(reading, "the port is not a number from 1 to 4294967294");
    }
    return 0;
}

static int parse_tcp_port(const struct reading *reading, const char *text, size_t host_length, uint32_t *ret)
{
    size_t digits = strspn(text, "0123456789");

    if (parse_number(text, TCP_PORT_MAX, ret) && (*ret > 0 || reading->listening)) {
        return 0;
    }
    if (digits > 0 && (text[digits] == '/' || text[digits] == '?')) {
        return refuse(reading, "nothing may follow the port", "%.*s", (int)(text + digits - reading->text),
                      reading->text);
    }
    if (strcmp(text, "0") == 0) {
        return refuse_plainly(reading, "port 0 is for listeners alone");
    }
    if (strcmp(text, "https") == 0) {
        return refuse(reading, "the port is not a number", "tcp://%.*s:443", (int)host_length,
                      text - host_length - 1);
    }
    return refuse_plainly(reading, reading->listening ? "the port is not a number from 0 to 65535"
                                                      : "the port is not a number from 1 to 65535");
}

/* [a-z0-9] then [a-z0-9_-], as the configuration names enclaves. */
static bool is_enclave_name(const char *name)
{
    if (strlen(name) > ENCLAVE_NAME_MAX || !(is_lower(name[0]) || is_digit(name[0]))) {
        return false;
    }
    for (; *name != '\0'; name++) {
        if (!is_lower(*name) && !is_digit(*name) && *name != '-' && *name != '_') {
            return false;
        }
    }
    return true;
}

/* The length of the label at `text`; 0: it is not one. */
static size_t label_length(const char *text)
{
    size_t n = 0;
    while (is_lower(text[n]) || is_upper(text[n]) || is_digit(text[n]) || text[n] == '-' || text[n] == '_') {
        n++;
    }
    return n <= LABEL_MAX && (text[n] == '.' || text[n] == '\0') ? n : 0;
}

bool addr_is_hostname(const char *name)
{
    if (strlen(name) >= ADDR_HOST_MAX) {
        return false;
    }
    for (;;) {
        size_t n = label_length(name);
        if (n == 0) {
            return false;
        }
        if (name[n] == '\0') {
            return !all_digits(name, n); /* else 127.1 and its like would pass for names */
        }
        name += n + 1;
    }
}

/* ---- The four forms ---- */

static int parse_cid(const struct reading *reading, const char *port, struct addr *ret)
{
    const char *cid = ret->host;
    uint32_t number;

    if (strcmp(cid, "any") == 0) {
        ret->cid = ADDR_CID_ANY;
    } else if (strcmp(cid, "parent") == 0) {
        ret->cid = ADDR_CID_PARENT;
    } else if (strcmp(cid, "local") == 0) {
        ret->cid = ADDR_CID_LOCAL;
    } else if (strcmp(cid, "-1") == 0 || strcmp(cid, "*") == 0 || strcmp(cid, "4294967295") == 0) {
        return refuse(reading, "the word for every CID is `any`", "vsock://any:%s", port);
    } else if (all_digits(cid, strlen(cid))) {
        if (!parse_number(cid, ADDR_CID_ANY - 1, &number)) {
            return refuse_plainly(reading, "the CID is not a number from 0 to 4294967294");
        }
        ret->cid = number;
    } else if (is_enclave_name(cid)) {
        ret->cid_by_name = true;
        return 0;
    } else {
        lower(ret->host);
        return refuse(reading,
                      "the CID is neither a number, nor `any`, `parent`, `local`, nor an enclave's name",
                      "vsock://%s:%s", cid, port);
    }
    ret->host[0] = '\0';
    return 0;
}

static int parse_vsock(const struct reading *reading, const char *rest, struct addr *ret)
{
    const char *colon = strrchr(rest, ':');
    size_t length = colon != NULL ? (size_t)(colon - rest) : strlen(rest);
    int r;

    ret->kind = ADDR_VSOCK;
    if (length == 0) {
        return refuse(reading, "the CID is missing", "vsock://any%s", rest);
    }
    if (length >= sizeof(ret->host)) {
        return refuse_plainly(reading, "the CID is too long");
    }
    memcpy(ret->host, rest, length);
    ret->host[length] = '\0';
    if (colon == NULL || colon[1] == '\0') {
        return refuse(reading, "the port is missing", "vsock://%s:8000", ret->host);
    }
    r = parse_vsock_port(reading, colon + 1, &ret->port);
    return r != 0 ? r : parse_cid(reading, colon + 1, ret);
}

/* Checks the path and takes it. `room` is what the socket address has for it. */
static int take_path(const struct reading *reading, const char *path, size_t length, size_t room,
                     struct addr *ret)
{
    char problem[96];

    if (length > room) {
        snprintf(problem, sizeof(problem), "the path has %zu bytes, and the kernel takes %zu", length, room);
        return refuse_plainly(reading, problem);
    }
    if (path[0] == '/' && path[length - 1] == '/') {
        return refuse_plainly(reading, "the path is a directory's, not a socket's");
    }
    memcpy(ret->host, path, length);
    ret->host[length] = '\0';
    return 0;
}

static int parse_unix(const struct reading *reading, const char *rest, struct addr *ret)
{
    ret->kind = ADDR_UNIX;
    if (rest[0] == '\0') {
        return refuse_plainly(reading, "the path is missing");
    }
    if (rest[0] != '/' && rest[0] != '@') {
        return refuse(reading, "the path is not absolute", "unix:///%s", rest);
    }
    if (rest[0] == '@' && rest[1] == '\0') {
        return refuse_plainly(reading, "the abstract name is missing");
    }
    return take_path(reading, rest, strlen(rest), SUN_PATH_MAX, ret);
}

static int parse_hybrid(const struct reading *reading, const char *rest, struct addr *ret)
{
    const char *colon = strrchr(rest, ':');
    size_t length = colon != NULL ? (size_t)(colon - rest) : strlen(rest);
    size_t suffix;
    int r;

    ret->kind = ADDR_HYBRID;
    if (length == 0) {
        return refuse_plainly(reading, "the path is missing");
    }
    if (rest[0] != '/') {
        return refuse(reading, "the path is not absolute", "hybrid:///%s", rest);
    }
    if (colon == NULL || colon[1] == '\0') {
        return refuse(reading, "the port is missing", "hybrid://%.*s:8000", (int)length, rest);
    }
    r = parse_vsock_port(reading, colon + 1, &ret->port);
    if (r != 0) {
        return r;
    }
    suffix = 1 + strlen(colon + 1); /* listening adds _PORT to the path */
    return take_path(reading, rest, length, SUN_PATH_MAX - suffix, ret);
}

/* Where the port's colon is; NULL if there is none. */
static const char *find_tcp_port(const char *rest)
{
    const char *bracket = rest[0] == '[' ? strchr(rest, ']') : NULL;
    if (bracket != NULL) {
        return bracket[1] == ':' ? bracket + 1 : NULL;
    }
    return strrchr(rest, ':');
}

/* `host` is what stood between the brackets. */
static int take_ipv6(const struct reading *reading, const char *host, struct addr *ret)
{
    struct in6_addr ip;

    if (strchr(host, '%') != NULL) {
        return refuse_plainly(reading, "an IPv6 address with a zone is not supported");
    }
    if (inet_pton(AF_INET6, host, &ip) != 1) {
        return refuse_plainly(reading, "what stands in brackets is not an IPv6 address");
    }
    inet_ntop(AF_INET6, &ip, ret->host, sizeof(ret->host));
    ret->literal = true;
    return 0;
}

/* What stands after the last colon may be the port, or the end of the address. */
static int refuse_bare_ipv6(const struct reading *reading, const char *host, const char *port)
{
    struct in6_addr ip;

    if (inet_pton(AF_INET6, host, &ip) == 1) {
        return refuse(reading, "an IPv6 address stands in brackets", "tcp://[%s]:%s", host, port);
    }
    return refuse(reading, "an IPv6 address stands in brackets", "tcp://[%s:%s]:443", host, port);
}

static int refuse_host(const struct reading *reading, const char *host, const char *port)
{
    if (strcmp(host, "*") == 0) {
        return refuse(reading, "every address is 0.0.0.0, or [::]", "tcp://0.0.0.0:%s", port);
    }
    if (host[0] == '[') {
        return refuse_plainly(reading, "the bracket is not closed before the port");
    }
    if (strchr(host, '@') != NULL) {
        return refuse(reading, "the host is not a host name or an IP address", "tcp://%s:%s",
                      strrchr(host, '@') + 1, port);
    }
    if (is_digit(host[strlen(host) - 1])) {
        return refuse_plainly(reading, "the host looks like an IPv4 address and is not one");
    }
    return refuse_plainly(reading, "the host is not a host name or an IP address");
}

/* ret->host holds what was written before the port. */
static int parse_host(const struct reading *reading, const char *port, struct addr *ret)
{
    char host[ADDR_HOST_MAX];
    struct in_addr ip;
    size_t length = strlen(ret->host);

    snprintf(host, sizeof(host), "%s", ret->host);
    if (host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        return take_ipv6(reading, host + 1, ret);
    }
    if (inet_pton(AF_INET, host, &ip) == 1) {
        ret->literal = true;
        return 0;
    }
    if (host[length - 1] == '.') {
        host[length - 1] = '\0';
    }
    if (!addr_is_hostname(host)) {
        return refuse_host(reading, ret->host, port);
    }
    lower(host);
    memcpy(ret->host, host, strlen(host) + 1);
    return 0;
}

static int parse_tcp(const struct reading *reading, const char *rest, struct addr *ret)
{
    const char *colon = find_tcp_port(rest);
    size_t length = colon != NULL ? (size_t)(colon - rest) : strlen(rest);
    int r;

    ret->kind = ADDR_TCP;
    if (length == 0) {
        return refuse(reading, "the host is missing", "tcp://0.0.0.0%s", rest);
    }
    if (length >= sizeof(ret->host)) {
        return refuse_plainly(reading, "the host is too long");
    }
    memcpy(ret->host, rest, length);
    ret->host[length] = '\0';
    if (colon == NULL || colon[1] == '\0') {
        return refuse(reading, "the port is missing", "tcp://%s:443", ret->host);
    }
    if (rest[0] != '[' && strchr(ret->host, ':') != NULL) {
        return refuse_bare_ipv6(reading, ret->host, colon + 1);
    }
    r = parse_tcp_port(reading, colon + 1, length, &ret->port);
    return r != 0 ? r : parse_host(reading, colon + 1, ret);
}

/* ---- Schemes ---- */

static const struct form forms[] = {
    {"vsock", "vsock://CID:PORT", parse_vsock},
    {"unix", "unix:///PATH", parse_unix},
    {"tcp", "tcp://HOST:PORT", parse_tcp},
    {"hybrid", "hybrid:///PATH:PORT", parse_hybrid},
};

static const struct form *find_form(const char *scheme)
{
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        if (strcmp(forms[i].name, scheme) == 0) {
            return &forms[i];
        }
    }
    return NULL;
}

/* Copies what stands before the first colon, if that may be a scheme. */
static bool get_scheme(const char *text, char scheme[16])
{
    size_t n = strcspn(text, ":");
    if (text[n] == '\0' || n == 0 || n >= 16) {
        return false;
    }
    memcpy(scheme, text, n);
    scheme[n] = '\0';
    return true;
}

/* vsock:16:8000, unix:/path, tcp:host:443, with or without slashes. */
static int refuse_slashes(struct reading *reading, const struct form *form)
{
    const char *rest = reading->text + strlen(form->name) + 1;
    bool path = form->parse == parse_unix || form->parse == parse_hybrid;

    reading->expected = form->expected;
    rest += strspn(rest, "/");
    return refuse(reading, "two slashes follow the scheme", "%s://%s%s", form->name,
                  path && rest[0] != '@' ? "/" : "", rest);
}

static int refuse_scheme(struct reading *reading, const char *scheme, const char *rest)
{
    static const char *const names[] = {"vsock", "unix", "tcp", "hybrid"};
    char lowered[16];
    const char *near;
    const struct form *form;

    snprintf(lowered, sizeof(lowered), "%s", scheme);
    lower(lowered);
    form = find_form(lowered);
    if (form != NULL) {
        reading->expected = form->expected;
        return refuse(reading, "schemes are written in lower case", "%s://%s", lowered, rest);
    }
    if (strcmp(lowered, "http") == 0 || strcmp(lowered, "https") == 0) {
        reading->expected = "tcp://HOST:PORT";
        size_t host = strcspn(rest, "/?");
        bool port = memchr(rest, ':', host) != NULL;
        return refuse(reading, "this is a URL, not an address", "tcp://%.*s%s", (int)host, rest,
                      port                ? ""
                      : lowered[4] == 's' ? ":443"
                                          : ":80");
    }
    near = diags_nearest(lowered, names, ARRAY_SIZE(names));
    return refuse(reading, "there is no such scheme", "%s://%s", near != NULL ? near : "", rest);
}

/* There is no scheme: guess by the look of it. */
static int refuse_bare(struct reading *reading)
{
    const char *text = reading->text;
    const char *colon = strrchr(text, ':');
    const char *scheme = "tcp";

    if (text[0] == '/' || text[0] == '@') {
        scheme = colon != NULL && all_digits(colon + 1, strlen(colon + 1)) ? "hybrid" : "unix";
    } else if (colon != NULL && all_digits(text, (size_t)(colon - text))) {
        scheme = "vsock";
    }
    return refuse(reading, "the scheme is missing", "%s://%s", scheme, text);
}

static int check_bytes(const struct reading *reading)
{
    const char *text = reading->text;
    size_t length = strlen(text);

    if (length == 0) {
        return refuse_plainly(reading, "the address is empty");
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return refuse_plainly(reading, "there is a control character in it");
        }
    }
    if (text[0] == ' ' || text[length - 1] == ' ') {
        return refuse_plainly(reading, "there is a blank at its start or end");
    }
    return 0;
}

static int read_address(const char *text, bool listening, struct addr *ret, struct error *err)
{
    struct reading reading = {.text = text, .expected = any_form, .err = err, .listening = listening};
    struct addr addr = {.kind = ADDR_NONE};
    const struct form *form;
    char scheme[16];
    int r = check_bytes(&reading);

    if (r != 0) {
        return r;
    }
    if (!get_scheme(text, scheme)) {
        return refuse_bare(&reading);
    }
    const char *rest = text + strlen(scheme) + 1;
    bool slashes = strncmp(rest, "//", 2) == 0;
    form = find_form(scheme);
    if (form == NULL) {
        return slashes ? refuse_scheme(&reading, scheme, rest + 2) : refuse_bare(&reading);
    }
    if (!slashes) {
        return refuse_slashes(&reading, form);
    }
    reading.expected = form->expected;
    r = form->parse(&reading, rest + 2, &addr);
    if (r == 0) {
        *ret = addr;
    }
    return r;
}

int addr_parse(const char *text, struct addr *ret, struct error *err)
{
    return read_address(text, false, ret, err);
}

int addr_parse_listen(const char *text, struct addr *ret, struct error *err)
{
    return read_address(text, true, ret, err);
}
