/* The key table. The order of its rows is the order of every document made from it. */
#include "config/keys.h"
#include "base/units.h"
#include "config/build.h"
#include "config/config.h"
#include <inttypes.h>
#include <string.h>

#define MS     UINT64_C(1)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define KIB    UINT64_C(1024)
#define MIB    (1024 * KIB)
#define TIB    (1024 * 1024 * MIB)

#define FIELD(type, member) .offset = offsetof(type, member), .width = sizeof(((type *)0)->member)
#define NUMBER(type, member, least, most) \
    .kind = KEY_NUMBER, FIELD(type, member), .min = (least), .max = (most)
#define DURATION(type, member, least, most) \
    .kind = KEY_DURATION, FIELD(type, member), .min = (least), .max = (most)
#define SIZE(type, member, least, most) .kind = KEY_SIZE, FIELD(type, member), .min = (least), .max = (most)
#define SWITCH(type, member)            .kind = KEY_SWITCH, FIELD(type, member)
#define CHOICE(type, member, words)     .kind = KEY_CHOICE, FIELD(type, member), .choices = (words)
#define SPECIAL(function, what)         .kind = KEY_SPECIAL, .set = (function), .expects = (what)
#define MAP(scope)                      .kind = KEY_MAP, .within = (scope)
#define CHECKED(what)                   .kind = KEY_SPECIAL, .set = set_checked_before, .expects = (what)

/* In the order of enum log_level and enum log_format. */
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"auto", "text", "json", NULL};

/* In the order of enum config_protocol and enum config_type. */
static const char *const protocols[] = {"raw", "framed", NULL};
static const char *const types[] = {"relay", "log", "time", "forward", "connect", NULL};

/* In the order of enum config_delivery, enum config_payload and enum config_credentials. */
static const char *const deliveries[] = {"direct", "spool", NULL};
static const char *const payloads[] = {"auto", "signed", "unsigned", NULL};
static const char *const credentials[] = {"auto", "env", "file", "container", "instance", NULL};

/* Which routes have a key. Of those of forward routes alone, hardly any default counts elsewhere. */
#define RELAY_ONLY .types = 1u << CONFIG_RELAY
#define RELAYING   .types = (1u << CONFIG_RELAY | 1u << CONFIG_CONNECT)
#define CONNECTING .types = (1u << CONFIG_RELAY | 1u << CONFIG_CONNECT | 1u << CONFIG_FORWARD)
#define PAUSING \
    .types = (1u << CONFIG_RELAY | 1u << CONFIG_CONNECT | 1u << CONFIG_FORWARD | 1u << CONFIG_TIME)
#define LEADING      .types = (1u << CONFIG_RELAY | 1u << CONFIG_FORWARD)
#define CONNECT_ONLY .types = 1u << CONFIG_CONNECT, .conditional = true
#define LOG_ONLY     .types = 1u << CONFIG_LOG, .conditional = true
#define FORWARD_ONLY .types = 1u << CONFIG_FORWARD, .conditional = true, .in_forward = true

const struct section key_sections[SCOPE_COUNT] = {
    [SCOPE_LOG] = {"log", "What is written to standard error."},
    [SCOPE_ADMIN] = {"admin",
                     "The admin socket: status, reload, drain. It may change things, so it is a unix "
                     "socket, open to root and the group postern only."},
    [SCOPE_METRICS] = {"metrics", "The metrics listener: GET only, of /metrics, /healthz and /readyz."},
    [SCOPE_LIMITS] = {"limits", "Bounds of the daemon as a whole."},
    [SCOPE_DNS] = {"dns", "How the names of destinations are resolved."},
    [SCOPE_VSOCK] = {"vsock", "How vsock sockets are treated."},
    [SCOPE_SESSIONS] = {"sessions", "The sessions of framed listeners: many streams over one connection."},
    [SCOPE_SPOOL] = {"spool",
                     "Where requests are kept until they are delivered, if a route says `delivery: spool`."},
    [SCOPE_ENCLAVE] = {"enclaves", "The enclaves, by name. Nobody else is let in, but where a listener says "
                                   "`allow: any`."},
    [SCOPE_LISTENER] = {"listeners", "The addresses that the daemon accepts streams on, by name."},
    [SCOPE_ROUTE] = {"routes", "The destinations that streams are carried to, by name."},
    [SCOPE_HEADERS] = {"headers", NULL},
    [SCOPE_TLS] = {"tls", NULL},
    [SCOPE_SIGN] = {"sign", NULL},
    [SCOPE_AWS] = {"sign.aws", NULL},
    [SCOPE_RETRY] = {"retry", NULL},
};

const struct key key_table[] = {
    {SCOPE_FILE, "version", .required = true, CHECKED("the number 1"), .doc = "The version of this format."},
    {SCOPE_FILE, "workers", "auto", NUMBER(struct config, workers, 1, 256), .word = "auto",
     .doc = "Event-loop threads. `auto`: one for each CPU."},
    {SCOPE_FILE, "drain_timeout", "30s", DURATION(struct config, drain_timeout_ms, 0, 30 * DAY),
     .doc = "How long open streams may go on after SIGTERM, before they are cut."},

    {SCOPE_LOG, "level", "info", CHOICE(struct config, log_level, log_levels),
     .doc = "The least important lines to write."},
    {SCOPE_LOG, "format", "auto", CHOICE(struct config, log_format, log_formats),
     .doc = "`auto`: text on a terminal, JSON lines otherwise."},

    {SCOPE_ADMIN, "listen", "unix:///run/postern/admin.sock",
     SPECIAL(set_admin, "a unix:///path address, or none"),
     .doc = "Where `posternctl` reaches the daemon. `none` turns it off."},

    {SCOPE_METRICS, "listen", "tcp://127.0.0.1:9464",
     SPECIAL(set_metrics, "an address such as tcp://127.0.0.1:9464, or none"),
     .doc = "Where Prometheus scrapes. `none` turns it off."},

    {SCOPE_LIMITS, "max_streams", "10000", NUMBER(struct config, max_streams, 1, 1000000),
     .doc = "Streams open at once. Raise LimitNOFILE in the unit with it: a stream takes two descriptors."},
    {SCOPE_LIMITS, "max_sessions", "1000", NUMBER(struct config, max_sessions, 1, 1000000),
     .doc = "Sessions open at once. Each holds at most `sessions.budget`."},
    {SCOPE_LIMITS, "body_memory", "256MiB", SIZE(struct config, body_memory, 32 * MIB, 64 * 1024 * MIB),
     .doc = "Memory for bodies that are gathered to be signed, all routes together. An enclave is given more "
            "while it has at most as much as is free: one alone gets half, two a third each. A request that "
            "gets none is refused, by 503."},

    {SCOPE_DNS, "servers", "system",
     SPECIAL(set_dns_servers,
             "system, or a list of at most 8 IP addresses with or without a port, e.g. [10.0.0.2, "
             "\"[fd00::2]:5353\"]"),
     .doc = "The name servers to ask. `system`: those of /etc/resolv.conf, read again when it changes."},
    {SCOPE_DNS, "timeout", "5s", DURATION(struct config_dns, timeout_ms, 10 * MS, 10 * MINUTE),
     .doc = "How long one question may take, repetitions included."},
    {SCOPE_DNS, "min_ttl", "5s", DURATION(struct config_dns, min_ttl_ms, 1 * MS, 1 * DAY),
     .doc = "An answer is kept at least this long, whatever its TTL; so is the answer that a name does not "
            "exist."},
    {SCOPE_DNS, "max_ttl", "5m", DURATION(struct config_dns, max_ttl_ms, 1 * MS, 30 * DAY),
     .doc = "An answer is kept at most this long, whatever its TTL."},
    {SCOPE_DNS, "stale", "1h", DURATION(struct config_dns, stale_ms, 0, 30 * DAY),
     .doc = "For how long after its TTL an answer still serves while the name servers fail. `0s`: never."},
    {SCOPE_DNS, "cache_size", "1024", NUMBER(struct config_dns, cache_size, 1, 1000000),
     .doc = "Names kept; the one used longest ago goes first."},

    {SCOPE_VSOCK, "buffer_size", "1MiB", SIZE(struct config_vsock, buffer_size, 4 * KIB, 256 * MIB),
     .doc = "The socket buffer asked of the kernel, each way."},
    {SCOPE_VSOCK, "write_size", "31KiB", SIZE(struct config_vsock, write_size, 1 * KIB, 64 * KIB),
     .doc = "The most bytes in one write: some kernels corrupt larger ones."},

    {SCOPE_SESSIONS, "budget", "16MiB", SIZE(struct config_sessions, budget, 64 * KIB, 64 * 1024 * MIB),
     .doc = "The most bytes that the daemon holds of one session, all of its streams together: what their "
            "destinations have not taken yet. At least 2KiB for each stream that the enclave may have."},
    {SCOPE_SESSIONS, "handshake_timeout", "10s",
     DURATION(struct config_sessions, handshake_timeout_ms, 100 * MS, 1 * HOUR),
     .doc = "How long a new connection may take to say that it speaks the framed protocol."},
    {SCOPE_SESSIONS, "ping_interval", "15s",
     DURATION(struct config_sessions, ping_interval_ms, 1 * SECOND, 1 * HOUR),
     .doc = "How often the other side is asked whether it is still there."},
    {SCOPE_SESSIONS, "pong_timeout", "30s",
     DURATION(struct config_sessions, pong_timeout_ms, 100 * MS, 1 * HOUR),
     .doc = "How long it may take to answer that, before the session is ended."},

    {SCOPE_SPOOL, "path", "/var/lib/postern/spool", SPECIAL(set_path, "an absolute path"),
     FIELD(struct config_spool, path), .doc = "The directory, which only root and the daemon may read."},
    {SCOPE_SPOOL, "max_size", "10GiB", SIZE(struct config_spool, max_bytes, 1 * MIB, 64 * TIB),
     .doc = "The most that is kept. A request that would be more is refused."},
    {SCOPE_SPOOL, "max_enclave_size", "auto", SIZE(struct config_spool, max_enclave_bytes, 1 * MIB, 64 * TIB),
     .word = "auto",
     .doc = "The most that is kept of one enclave. `auto`: where there are several, seven eighths of "
            "`max_size`, so that "
            "none fills the spool for all; else all of it."},

    {SCOPE_ENCLAVE, "cid", .required = true, SPECIAL(set_cid, "a number from 4 to 4294967294"),
     FIELD(struct config_enclave, cid), .min = 4, .max = UINT64_C(4294967294),
     .doc =
         "The enclave's CID, as given to `nitro-cli run-enclave --enclave-cid`. Each enclave has its own. "
         "`local` is "
         "this machine itself, over the kernel's vsock loopback: for trying things out without an enclave."},
    {SCOPE_ENCLAVE, "max_streams", "1024", NUMBER(struct config_enclave, max_streams, 1, 1000000),
     .doc = "Streams that the enclave may have open at once."},
    {SCOPE_ENCLAVE, "max_sessions", "8", NUMBER(struct config_enclave, max_sessions, 1, 65536),
     .doc = "Sessions that the enclave may have open at once, on framed listeners."},

    {SCOPE_LISTENER, "listen", .required = true,
     SPECIAL(set_listen, "an address to listen on, e.g. vsock://any:8000"),
     .doc = "The address: `vsock://any:PORT`, `unix:///path`, `tcp://IP:PORT` or `hybrid:///path:PORT`."},
    {SCOPE_LISTENER, "protocol", "raw", CHOICE(struct config_listener, protocol, protocols),
     .doc = "`raw`: a connection is one stream, to one route. `framed`: it is a session of many streams, and "
            "the "
            "caller names the route of each."},
    {SCOPE_LISTENER, "route", .conditional = true, SPECIAL(set_listener_route, "the name of a route"),
     .doc = "raw only, and required there: the route that every stream of this listener takes."},
    {SCOPE_LISTENER, "allow", .required = true,
     SPECIAL(set_allow, "a list of names of enclaves, or any; on a framed listener {ENCLAVE: [ROUTE, ...]}"),
     .doc = "Who may connect. raw: enclaves, or `any` for every caller, enclave or not. framed: enclaves, "
            "each with "
            "the routes that it may open streams to."},
    {SCOPE_LISTENER, "peer", .conditional = true, SPECIAL(set_peer, "the name of an enclave"),
     .doc = "unix, tcp and hybrid only, which carry no CID: the enclave that a caller counts as."},
    {SCOPE_LISTENER, "mode", "0660", .conditional = true,
     SPECIAL(set_mode, "permissions in octal such as \"0660\", at most \"0777\""),
     FIELD(struct config_listener, mode),
     .doc = "unix and hybrid only: the permissions of the socket's file."},

    {SCOPE_ROUTE, "type", .required = true, CHOICE(struct config_route, type, types),
     .doc = "`relay`: bytes are passed on untouched. `log`: lines go to the daemon's log, with the enclave's "
            "name. `time`: who asks is told the time. `forward`: HTTP requests are judged, completed and "
            "delivered. `connect`: an HTTP proxy, what HTTPS_PROXY and http_proxy in the enclave point to."},
    {SCOPE_ROUTE, "to", .conditional = true, LEADING,
     SPECIAL(set_to,
             "an address such as tcp://kms.us-east-1.amazonaws.com:443, sni, or {sni: {NAME: ADDRESS}}"),
     .doc = "relay, and required there: an address; `sni`, the name in the ClientHello; or `{sni: "
            "{NAME: ADDRESS}}`, "
            "where that name chooses among several. An enclave is `vsock://NAME:PORT`. forward, and required "
            "there: `https://HOST[:PORT][/PATH]`, or http; the path goes in front of those asked for."},
    {SCOPE_ROUTE, "hosts", CONNECT_ONLY,
     SPECIAL(set_hosts,
             "a list of hosts with their ports, e.g. [\"api.example.com:443\", \"*.s3.amazonaws.com:443\"]"),
     .doc = "connect only, and required there: what may be connected to, by CONNECT, or by requests with a "
            "whole "
            "http:// URL. `*.` in front stands for one label or more. The ClientHello in a tunnel has to "
            "name the "
            "same host; an IP address is allowed if it stands here."},
    {SCOPE_ROUTE, "sni", .conditional = true, RELAY_ONLY,
     SPECIAL(set_sni,
             "a list of host names or wildcards, e.g. [kms.us-east-1.amazonaws.com, \"*.example.com\"]"),
     .doc = "The names that a ClientHello may carry; a stream with another name, none, or no TLS at all is "
            "refused. `*.` in front stands for one label or more. Left out: any stream passes."},
    {SCOPE_ROUTE, "port", "443", .conditional = true, RELAY_ONLY, NUMBER(struct config_route, port, 1, 65535),
     .doc = "`to: sni` only: the port of the destination."},
    {SCOPE_ROUTE, "family", "any", CONNECTING, SPECIAL(set_family, "any, ipv4 or ipv6"),
     .doc = "Which of the addresses that a name resolves to are tried."},
    {SCOPE_ROUTE, "allow_private", "false", CONNECTING, SWITCH(struct config_route, allow_private),
     .doc = "Whether a name may resolve to a private, loopback or link-local address (the instance metadata "
            "service among them). An IP address written in `to` or `hosts` is always good."},
    {SCOPE_ROUTE, "connect_timeout", "5s", CONNECTING,
     DURATION(struct config_route, connect_timeout_ms, 1 * MS, 1 * DAY),
     .doc = "How long reaching the destination may take, over all of its addresses."},
    {SCOPE_ROUTE, "hello_timeout", "10s", RELAYING,
     DURATION(struct config_route, hello_timeout_ms, 1 * MS, 1 * DAY),
     .doc = "How long a whole ClientHello may take to come, where names are checked; on a connect route the "
            "request before it, too."},
    {SCOPE_ROUTE, "first_byte_timeout", "1m", RELAYING,
     DURATION(struct config_route, first_byte_timeout_ms, 1 * MS, 30 * DAY),
     .doc = "How long a new stream may stay without any byte, either way."},
    {SCOPE_ROUTE, "idle_timeout", "5m", PAUSING,
     DURATION(struct config_route, idle_timeout_ms, 1 * MS, 30 * DAY),
     .doc = "How long a stream may stay without any byte, either way."},
    {SCOPE_ROUTE, "half_closed_timeout", "1h", RELAYING,
     DURATION(struct config_route, half_closed_timeout_ms, 1 * MS, 30 * DAY),
     .doc = "The same, once one side is done sending."},
    {SCOPE_ROUTE, "max_streams", "1024", NUMBER(struct config_route, max_streams, 1, 1000000),
     .doc = "Streams that the route carries at once."},
    {SCOPE_ROUTE, "level", "info", LOG_ONLY, CHOICE(struct config_route, level, log_levels),
     .doc = "log only: the level at which the lines are written. `log.level` may leave them out."},
    {SCOPE_ROUTE, "lines_per_second", "200", LOG_ONLY,
     NUMBER(struct config_route, lines_per_second, 1, 100000),
     .doc = "log only: how many lines of one enclave are written, over time; five times as many may come at "
            "once. "
            "What is more is dropped, and said to be."},

    {SCOPE_ROUTE, "methods", FORWARD_ONLY, SPECIAL(set_methods, "a list of HTTP methods, e.g. [POST, PUT]"),
     .doc = "The methods that requests may have. Left out: all but CONNECT and TRACE, which never pass."},
    {SCOPE_ROUTE, "paths", FORWARD_ONLY, SPECIAL(set_paths, "a list of paths, e.g. [/results, /status]"),
     .doc =
         "What paths may begin with, whole segments: `/a` stands for /a and /a/b, and `/a/` for /a/b alone. "
         "Left out: any path."},
    {SCOPE_ROUTE, "query", "any", FORWARD_ONLY,
     SPECIAL(set_query, "any, none, or a list of names of parameters, e.g. [page, size]"),
     .doc = "The parameters that a query may have."},
    {SCOPE_ROUTE, "content_types", FORWARD_ONLY,
     SPECIAL(set_content_types, "a list of content types, e.g. [application/json, \"image/*\"]"),
     .doc = "The types that a body may have. Left out: any."},
    {SCOPE_ROUTE, "headers", FORWARD_ONLY, MAP(SCOPE_HEADERS),
     .doc =
         "What the route does to the headers of requests. Values may hold `${enclave}`, `${cid}`, "
         "`${route}`, "
         "`${request_id}`, `${env:NAME}`, `${file:/PATH}` and `${credential:NAME}`; `$${` stands for `${`."},
    {SCOPE_HEADERS, "set", SPECIAL(set_headers_set, "a map of headers, e.g. {x-enclave: \"${enclave}\"}"),
     .doc = "Headers that are the route's: what the enclave sends under such a name is dropped."},
    {SCOPE_HEADERS, "add", SPECIAL(set_headers_add, "a map of headers, e.g. {via: \"1.1 postern\"}"),
     .doc = "Headers that are put beside what the enclave sends."},
    {SCOPE_HEADERS, "remove", SPECIAL(set_headers_remove, "a list of names of headers, e.g. [x-internal]"),
     .doc = "Headers of the enclave that do not leave."},
    {SCOPE_ROUTE, "max_head", "32KiB", FORWARD_ONLY,
     SIZE(struct config_forward, rules.limits.head.bytes, 1 * KIB, 1 * MIB),
     .doc = "The largest head, request line and headers together."},
    {SCOPE_ROUTE, "max_headers", "100", FORWARD_ONLY,
     NUMBER(struct config_forward, rules.limits.head.fields, 1, 1000), .doc = "The most headers."},
    {SCOPE_ROUTE, "max_target", "8KiB", FORWARD_ONLY,
     SIZE(struct config_forward, rules.limits.head.target, 64, 64 * KIB),
     .doc = "The longest path and query together."},
    {SCOPE_ROUTE, "max_body", "none", FORWARD_ONLY,
     SIZE(struct config_forward, rules.limits.body, 1, 64 * TIB), .word = "none",
     .doc = "The largest body. `none`: any size."},
    {SCOPE_ROUTE, "head_timeout", "10s", FORWARD_ONLY,
     DURATION(struct config_forward, head_timeout_ms, 1 * MS, 1 * DAY),
     .doc = "How long a request's head may take to come, from its first byte on."},
    {SCOPE_ROUTE, "response_timeout", "1m", FORWARD_ONLY,
     DURATION(struct config_forward, response_timeout_ms, 1 * MS, 1 * DAY),
     .doc = "How long the answer's head may take to come, once the request is out."},
    {SCOPE_ROUTE, "max_idle", "16", FORWARD_ONLY, NUMBER(struct config_forward, max_idle, 0, 1024),
     .doc = "Connections to the upstream that each worker keeps for the next request."},
    {SCOPE_ROUTE, "keep", "1m", FORWARD_ONLY, DURATION(struct config_forward, keep_ms, 1 * MS, 1 * HOUR),
     .doc = "How long such a connection is kept."},
    {SCOPE_ROUTE, "tls", FORWARD_ONLY, MAP(SCOPE_TLS),
     .doc = "How the upstream is verified, and how the daemon shows who it is. Files are read when they are "
            "first "
            "used, and again when they change."},
    {SCOPE_TLS, "ca", SPECIAL(set_path, "an absolute path"), FIELD(struct config_forward, ca_file),
     .doc = "The certificates, in PEM, that the upstream's must be signed by. Left out: the system's."},
    {SCOPE_TLS, "cert", SPECIAL(set_path, "an absolute path"), FIELD(struct config_forward, cert_file),
     .doc = "A client's certificate, in PEM. It goes with `key`."},
    {SCOPE_TLS, "key", SPECIAL(set_path, "an absolute path"), FIELD(struct config_forward, key_file),
     .doc = "Its private key, in PEM."},
    {SCOPE_ROUTE, "sign", FORWARD_ONLY, MAP(SCOPE_SIGN),
     .doc = "How requests are signed. Left out: not at all."},
    {SCOPE_SIGN, "aws", .required = true, MAP(SCOPE_AWS),
     .doc = "With AWS Signature Version 4, by credentials that the enclave never sees."},
    {SCOPE_AWS, "service", .required = true,
     SPECIAL(set_name, "the name of an AWS service in lower case, e.g. s3 or sqs"),
     FIELD(struct config_sign, service), .doc = "The service that the signature is for."},
    {SCOPE_AWS, "region", .required = true, SPECIAL(set_name, "the name of an AWS region, e.g. us-east-1"),
     FIELD(struct config_sign, region), .doc = "The region that the signature is for."},
    {SCOPE_AWS, "payload", "auto", CHOICE(struct config_sign, payload, payloads),
     .doc = "Whether the body is hashed into the signature. `auto`: not for S3, whose TLS vouches for it."},
    {SCOPE_AWS, "max_body", "8MiB", SIZE(struct config_sign, body_max, 1 * KIB, 1024 * MIB),
     .doc = "The largest body that is gathered in memory to be hashed before it goes out; a larger one is "
            "refused."},
    {SCOPE_AWS, "credentials", "auto", CHOICE(struct config_sign, credentials, credentials),
     .doc = "Where they come from. `auto`: the first that is there, in this order."},
    {SCOPE_AWS, "file", SPECIAL(set_path, "an absolute path"), FIELD(struct config_sign, credentials_file),
     .doc = "The file of credentials. Left out: the one that $AWS_SHARED_CREDENTIALS_FILE names."},
    {SCOPE_AWS, "profile", SPECIAL(set_profile, "the name of a profile in that file"),
     FIELD(struct config_sign, profile),
     .doc = "Whose credentials to use. Left out: $AWS_PROFILE, or else default."},
    {SCOPE_ROUTE, "delivery", "direct", FORWARD_ONLY, CHOICE(struct config_forward, delivery, deliveries),
     .doc = "`direct`: the upstream's own answer is passed back. `spool`: the request is answered with 202 "
            "once it is "
            "durable, and delivered later."},
    {SCOPE_ROUTE, "retry", FORWARD_ONLY, MAP(SCOPE_RETRY),
     .doc = "`delivery: spool` only: how often delivering is tried."},
    {SCOPE_RETRY, "attempts", "8", NUMBER(struct config_forward, retry.attempts, 1, 1000),
     .doc = "How often, before the request is put aside as dead."},
    {SCOPE_RETRY, "max_age", "1d", DURATION(struct config_forward, retry.max_age_ms, 1 * SECOND, 365 * DAY),
     .doc = "How old a request may become, before it is put aside as dead."},
    {SCOPE_RETRY, "min_pause", "1s", DURATION(struct config_forward, retry.min_pause_ms, 10 * MS, 1 * DAY),
     .doc = "The pause after the first failure; it doubles with each one more."},
    {SCOPE_RETRY, "max_pause", "5m", DURATION(struct config_forward, retry.max_pause_ms, 10 * MS, 1 * DAY),
     .doc = "The longest pause."},
    {SCOPE_ROUTE, "in_flight", "4", FORWARD_ONLY, NUMBER(struct config_forward, in_flight, 1, 256),
     .doc = "`delivery: spool` only: how many requests are delivered at once."},
    {SCOPE_ROUTE, "max_spool", "none", FORWARD_ONLY,
     SIZE(struct config_forward, spool_max_bytes, 1 * MIB, 64 * TIB), .word = "none",
     .doc = "`delivery: spool` only: the most that is kept of this route. `none`: as much as there is room "
            "for."},
};

const size_t key_count = ARRAY_SIZE(key_table);

const struct key *key_find(enum scope scope, const char *name)
{
    for (size_t i = 0; i < key_count; i++) {
        if (key_table[i].scope == scope && strcmp(key_table[i].name, name) == 0) {
            return &key_table[i];
        }
    }
    return NULL;
}

bool key_is_of(const struct key *key, unsigned type)
{
    return key->types == 0 || (key->types & 1u << type) != 0;
}

static void choices_text(const struct key *key, struct text *out)
{
    for (const char *const *word = key->choices; *word != NULL; word++) {
        const char *between = word == key->choices ? "" : word[1] != NULL ? ", " : " or ";
        text_addf(out, "%s%s", between, *word);
    }
}

void key_expects(const struct key *key, struct text *out)
{
    char least[UNITS_TEXT_MAX];
    char most[UNITS_TEXT_MAX];
    switch (key->kind) {
    case KEY_NUMBER:
        if (key->word != NULL) {
            text_addf(out, "%s, or ", key->word);
        }
        text_addf(out, "a number from %" PRIu64 " to %" PRIu64, key->min, key->max);
        break;
    case KEY_DURATION:
        text_addf(out, "a duration from %s to %s", units_format_duration(key->min, least),
                  units_format_duration(key->max, most));
        break;
    case KEY_SIZE:
        if (key->word != NULL) {
            text_addf(out, "%s, or ", key->word);
        }
        text_addf(out, "a size from %s to %s", units_format_size(key->min, least),
                  units_format_size(key->max, most));
        break;
    case KEY_SWITCH:
        text_add(out, "true or false");
        break;
    case KEY_CHOICE:
        choices_text(key, out);
        break;
    case KEY_MAP:
        text_add(out, "keys of its own");
        break;
    case KEY_SPECIAL:
        text_add(out, key->expects);
        break;
    }
}

void key_path(const struct key *key, struct text *out)
{
    enum scope section = key->scope < SCOPE_SECTIONS ? key->scope : SCOPE_ROUTE;
    if (section != SCOPE_FILE) {
        text_addf(out, "%s.", key_sections[section].name);
    }
    if (section >= SCOPE_ENCLAVE) {
        text_add(out, "NAME.");
    }
    if (section != key->scope) {
        text_addf(out, "%s.", key_sections[key->scope].name);
    }
    text_add(out, key->name);
}
