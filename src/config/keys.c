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

#define FIELD(type, member) .offset = offsetof(type, member), .width = sizeof(((type *)0)->member)
#define NUMBER(type, member, least, most) \
    .kind = KEY_NUMBER, FIELD(type, member), .min = (least), .max = (most)
#define DURATION(type, member, least, most) \
    .kind = KEY_DURATION, FIELD(type, member), .min = (least), .max = (most)
#define SIZE(type, member, least, most) .kind = KEY_SIZE, FIELD(type, member), .min = (least), .max = (most)
#define SWITCH(type, member)            .kind = KEY_SWITCH, FIELD(type, member)
#define CHOICE(type, member, words)     .kind = KEY_CHOICE, FIELD(type, member), .choices = (words)
#define SPECIAL(function, what)         .kind = KEY_SPECIAL, .set = (function), .expects = (what)
#define CHECKED(what)                   .kind = KEY_SPECIAL, .set = set_checked_before, .expects = (what)

/* In the order of enum log_level and enum log_format. */
static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"auto", "text", "json", NULL};

/* In the order of enum config_protocol and enum config_type. */
static const char *const protocols[] = {"raw", "framed", NULL};
static const char *const types[] = {"relay", "log", "time", NULL};

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
    [SCOPE_ENCLAVE] = {"enclaves", "The enclaves, by name. Nobody else is let in, but where a listener says "
                                   "`allow: any`."},
    [SCOPE_LISTENER] = {"listeners", "The addresses that the daemon accepts streams on, by name."},
    [SCOPE_ROUTE] = {"routes", "The destinations that streams are carried to, by name."},
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
            "name. `time`: who asks is told the time."},
    {SCOPE_ROUTE, "to", .conditional = true,
     SPECIAL(set_to,
             "an address such as tcp://kms.us-east-1.amazonaws.com:443, sni, or {sni: {NAME: ADDRESS}}"),
     .doc = "relay only, and required there: an address; `sni`, the name in the ClientHello; or `{sni: "
            "{NAME: ADDRESS}}`, "
            "where that name chooses among several. An enclave is `vsock://NAME:PORT`."},
    {SCOPE_ROUTE, "sni", .conditional = true,
     SPECIAL(set_sni,
             "a list of host names or wildcards, e.g. [kms.us-east-1.amazonaws.com, \"*.example.com\"]"),
     .doc = "The names that a ClientHello may carry; a stream with another name, none, or no TLS at all is "
            "refused. `*.` in front stands for one label or more. Left out: any stream passes."},
    {SCOPE_ROUTE, "port", "443", .conditional = true, NUMBER(struct config_route, port, 1, 65535),
     .doc = "`to: sni` only: the port of the destination."},
    {SCOPE_ROUTE, "family", "any", SPECIAL(set_family, "any, ipv4 or ipv6"),
     .doc = "Which of the addresses that a name resolves to are tried."},
    {SCOPE_ROUTE, "allow_private", "false", SWITCH(struct config_route, allow_private),
     .doc = "Whether a name may resolve to a private, loopback or link-local address (the instance metadata "
            "service among them). An IP address written in `to` is always good."},
    {SCOPE_ROUTE, "connect_timeout", "5s", DURATION(struct config_route, connect_timeout_ms, 1 * MS, 1 * DAY),
     .doc = "How long reaching the destination may take, over all of its addresses."},
    {SCOPE_ROUTE, "hello_timeout", "10s", DURATION(struct config_route, hello_timeout_ms, 1 * MS, 1 * DAY),
     .doc = "How long a whole ClientHello may take to come, where names are checked."},
    {SCOPE_ROUTE, "first_byte_timeout", "1m",
     DURATION(struct config_route, first_byte_timeout_ms, 1 * MS, 30 * DAY),
     .doc = "How long a new stream may stay without any byte, either way."},
    {SCOPE_ROUTE, "idle_timeout", "5m", DURATION(struct config_route, idle_timeout_ms, 1 * MS, 30 * DAY),
     .doc = "How long a stream may stay without any byte, either way."},
    {SCOPE_ROUTE, "half_closed_timeout", "1h",
     DURATION(struct config_route, half_closed_timeout_ms, 1 * MS, 30 * DAY),
     .doc = "The same, once one side is done sending."},
    {SCOPE_ROUTE, "max_streams", "1024", NUMBER(struct config_route, max_streams, 1, 1000000),
     .doc = "Streams that the route carries at once."},
    {SCOPE_ROUTE, "level", "info", .conditional = true, CHOICE(struct config_route, level, log_levels),
     .doc = "log only: the level at which the lines are written. `log.level` may leave them out."},
    {SCOPE_ROUTE, "lines_per_second", "200", .conditional = true,
     NUMBER(struct config_route, lines_per_second, 1, 100000),
     .doc = "log only: how many lines of one enclave are written, over time; five times as many may come at "
            "once. "
            "What is more is dropped, and said to be."},
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
        text_addf(out, "a size from %s to %s", units_format_size(key->min, least),
                  units_format_size(key->max, most));
        break;
    case KEY_SWITCH:
        text_add(out, "true or false");
        break;
    case KEY_CHOICE:
        choices_text(key, out);
        break;
    case KEY_SPECIAL:
        text_add(out, key->expects);
        break;
    }
}

void key_path(const struct key *key, struct text *out)
{
    if (key->scope != SCOPE_FILE) {
        text_addf(out, "%s.", key_sections[key->scope].name);
    }
    if (key->scope >= SCOPE_ENCLAVE) {
        text_add(out, "NAME.");
    }
    text_add(out, key->name);
}
