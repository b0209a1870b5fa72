/*
 * The configuration as the daemon uses it: checked, complete, immutable and shared.
 *
 * config_load() reads a file, reports every mistake in it, and makes a struct config with one reference.
 * A configuration is never changed after that. A reload makes another; streams hold a reference to the one
 * they were opened under, so the old one goes when its last stream does. References may be taken and
 * dropped on any thread.
 *
 * Nothing outside the file is touched: no name is resolved, nothing bound, nothing written. So check,
 * start and reload give the same verdict on the same file.
 *
 * Enclaves, listeners and routes are arrays in the file's order; an index into them (`id`) is the name
 * that the rest of the program uses. All strings are owned by the configuration.
 */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include "base/compiler.h"
#include "base/diag.h"
#include "base/log.h"
#include "http/request.h"
#include "net/addr.h"
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_NAME_MAX 63 /* of enclaves, listeners and routes: [a-z0-9] then [a-z0-9_-] */
#define CONFIG_NOBODY   (-1)
#define CONFIG_NO_ROUTE (-1)

/* A session whose streams are all open needs this much of its budget for each (docs/protocol.md, "Flow
 * control"). */
#define CONFIG_BUDGET_A_STREAM UINT64_C(2048)

struct config_enclave {
    const char *name;
    uint64_t digest; /* of what the file says of it: changes.h */
    uint32_t cid;
    unsigned max_streams;
    unsigned max_sessions; /* of framed listeners */
    struct place place;
};

enum config_protocol { CONFIG_RAW, CONFIG_FRAMED };

/* On a framed listener: an enclave, and one of the routes that it may open streams to. */
struct config_permit {
    int enclave;      /* id */
    int route;        /* id */
    const char *name; /* of the route */
    struct place place;
};

struct config_listener {
    const char *name;
    uint64_t digest; /* as an enclave's */
    struct addr listen;
    enum config_protocol protocol;
    int route;      /* CONFIG_RAW: id of the one that every stream takes; else CONFIG_NO_ROUTE */
    bool allow_any; /* `allow: any`: every caller, enclave or not; raw only */
    bool *allow;    /* by enclave id; all false under allow_any */
    struct config_permit *permits; /* CONFIG_FRAMED: sorted by enclave, then by the route's name, for
                                      policy_route() */
    unsigned permit_count;
    int peer;      /* the enclave that a caller without a CID counts as, or CONFIG_NOBODY */
    unsigned mode; /* of a unix socket's file, e.g. 0660 */
    struct place place;
    struct place allow_place; /* of what `allow` says */
};

enum config_to {
    CONFIG_TO_ADDRESS, /* `to: tcp://...`: one destination */
    CONFIG_TO_SNI,     /* `to: sni`: the ClientHello's name, at `port` */
    CONFIG_TO_SNI_MAP, /* `to: {sni: {...}}`: the ClientHello's name chooses among several */
};

/* "kms.us-east-1.amazonaws.com" matches itself, "*.example.com" one or more labels before .example.com.
 * Lower case; compared without regard to case. A route's patterns are sorted by strcmp(), for policy_sni(),
 * and none is there twice. */
struct config_sni {
    const char *pattern;
    struct addr to; /* CONFIG_TO_SNI_MAP: where it leads */
    struct place place;
};

enum config_type {
    CONFIG_RELAY,   /* bytes are passed on to a destination */
    CONFIG_LOG,     /* lines go to the daemon's log */
    CONFIG_TIME,    /* who asks is told the time */
    CONFIG_FORWARD, /* HTTP requests are judged, completed and delivered */
    CONFIG_CONNECT, /* an HTTP proxy, for CONNECT */
};

/* `sign: {aws: ...}`: where the credentials come from. */
enum config_credentials {
    CONFIG_CREDENTIALS_AUTO, /* environment, file, container, instance: the first that is there, as AWS's SDKs have it */
    CONFIG_CREDENTIALS_ENV,
    CONFIG_CREDENTIALS_FILE,
    CONFIG_CREDENTIALS_CONTAINER, /* ECS, and EKS's pod identities */
    CONFIG_CREDENTIALS_INSTANCE,  /* the instance metadata service, version 2 */
};

enum config_payload {
    CONFIG_PAYLOAD_AUTO, /* unsigned for S3 over TLS, signed else */
    CONFIG_PAYLOAD_SIGNED,
    CONFIG_PAYLOAD_UNSIGNED,
};

struct config_sign {
    const char *service;
    const char *region;
    enum config_payload payload; /* as the file says, and what that comes to: */
    bool unsigned_payload;       /* the body is not hashed */
    uint64_t body_max; /* the largest body that is gathered in memory to be hashed, before it goes out */
    enum config_credentials credentials;
    const char *credentials_file; /* NULL: $AWS_SHARED_CREDENTIALS_FILE */
    const char *profile;          /* in that file; NULL: $AWS_PROFILE, or else "default" */
    struct place unsent;          /* of an `authorization` that the route sets, too, in vain; line 0: none */
};

enum config_delivery {
    CONFIG_DIRECT, /* the upstream's own answer is passed back */
    CONFIG_SPOOL,  /* 202 once it is durable; delivered later */
};

struct config_retry {
    unsigned attempts; /* then it is dead */
    uint64_t max_age_ms;
    uint64_t min_pause_ms; /* after the first failure, then doubled ... */
    uint64_t max_pause_ms; /* ... up to this */
};

/* Of a `forward` route; route->to is the address that its URL leads to. */
struct config_forward {
    bool tls;
    const char *
        authority; /* for the Host header: "results.example.com", with the port unless it is the scheme's own */
    const char *server_name; /* whom the upstream's certificate must name: a host name, or an IP address */
    const char *base_path;   /* "/v1", in its judged form; "": none */
    struct http_rules rules;
    const char *ca_file;              /* PEM; NULL: the system's */
    const char *cert_file, *key_file; /* PEM, of a client's certificate; NULL: none */
    struct config_sign *sign;         /* NULL: not signed */
    enum config_delivery delivery;
    struct config_retry retry;    /* CONFIG_SPOOL */
    unsigned in_flight;           /* CONFIG_SPOOL: deliveries at once */
    uint64_t spool_max_bytes;     /* CONFIG_SPOOL: of the route's records; 0: the spool's bound alone */
    uint64_t head_timeout_ms;     /* a request's head, from its first byte on */
    uint64_t response_timeout_ms; /* until the head of the answer, once the request is out */
    unsigned max_idle;            /* upstream connections kept by a worker */
    uint64_t keep_ms;             /* how long one is kept */
};

/* Of a `connect` route: "api.example.com:443", "*.s3.amazonaws.com:443". */
struct config_host {
    const char *pattern; /* as of struct config_sni */
    uint16_t port;
    struct place place;
};

struct config_route {
    const char *name;
    uint64_t digest; /* as an enclave's */
    enum config_type type;
    enum config_to to_kind;
    struct addr to;         /* CONFIG_TO_ADDRESS; names of enclaves already turned into CIDs */
    uint16_t port;          /* CONFIG_TO_SNI */
    struct config_sni *sni; /* patterns allowed, or the map; none: any stream passes, TLS or not */
    unsigned sni_count;
    bool allow_private;
    int family; /* AF_INET, AF_INET6: addresses of that family only (vsock-proxy -4, -6); 0: both */
    unsigned max_streams;
    uint64_t hello_timeout_ms;
    uint64_t connect_timeout_ms;
    uint64_t first_byte_timeout_ms;
    uint64_t idle_timeout_ms;
    uint64_t half_closed_timeout_ms;
    enum log_level level;           /* CONFIG_LOG: of the lines */
    unsigned lines_per_second;      /* CONFIG_LOG: of one enclave; more are dropped */
    struct config_forward *forward; /* CONFIG_FORWARD, else NULL. Of idle_timeout: any pause between bytes */
    struct config_host *hosts;      /* CONFIG_CONNECT: sorted by pattern, then port */
    unsigned host_count;
    struct place place;
};

struct config_dns {
    const char *servers; /* "ADDRESS[:PORT],..." ; NULL: the system's */
    uint64_t timeout_ms;
    uint64_t min_ttl_ms;
    uint64_t max_ttl_ms;
    uint64_t stale_ms;
    unsigned cache_size;
};

struct config_vsock {
    uint64_t buffer_size; /* socket buffer asked of the kernel, both directions */
    uint64_t write_size;  /* most bytes in one write */
};

/* `spool:`; used if a route says `delivery: spool`. */
struct config_spool {
    const char *path;
    uint64_t max_bytes;
    uint64_t max_enclave_bytes; /* 0: `auto`, see spool_keeper.c */
};

struct config_sessions {
    uint64_t budget;
    uint64_t handshake_timeout_ms;
    uint64_t ping_interval_ms;
    uint64_t pong_timeout_ms;
};

/* A key at the top of the file, but for the three whose entries have names. */
struct config_section {
    const char *name;
    uint64_t digest; /* as an enclave's */
};

struct config {
    const char *file;
    unsigned workers; /* 0: as many as there are CPUs */
    enum log_level log_level;
    enum log_format log_format;
    struct addr admin;   /* kind ADDR_NONE: not wanted */
    struct addr metrics; /* kind ADDR_NONE: not wanted */
    unsigned max_streams;
    unsigned max_sessions;
    uint64_t body_memory;
    uint64_t drain_timeout_ms;
    struct config_dns dns;
    struct config_vsock vsock;
    struct config_sessions sessions;
    struct config_spool spool;
    struct config_enclave *enclaves;
    unsigned enclave_count;
    struct config_listener *listeners;
    unsigned listener_count;
    struct config_route *routes;
    unsigned route_count;
    struct config_section *sections;
    unsigned section_count;
    void *owner; /* private: what the strings and arrays live in, and the reference count */
};

/* Reads and checks `file`. Returns 0 with one reference in *ret; -EINVAL with the mistakes in `diags`
 * (initialised by the caller); or -errno when the file cannot be read, which is told in `diags` too. */
int config_load(const char *file, struct config **ret, struct diags *diags) MUST_CHECK;

/* The same for text already in memory; `file` is the name to show. */
int config_parse(const char *file, const char *data, size_t size, struct config **ret,
                 struct diags *diags) MUST_CHECK;

/* An empty configuration with every key at its default, for the vsock-proxy command line to fill in through
 * config_strdup() and config_alloc() before it is shared. NULL: out of memory. */
struct config *config_new(const char *file) MUST_CHECK;
void config_route_init(struct config_route *route); /* zeroes, and sets every key's default */
char *config_strdup(struct config *config, const char *string) MUST_CHECK;
void *config_alloc(struct config *config, size_t count, size_t size) MUST_CHECK; /* zeroed, freed with it */

/* What the file says in vain, a line each as of a mistake: nothing that would keep the daemon from its work. */
struct text;
void config_notes(const struct config *config, struct text *out);

/* How many descriptors a daemon of these limits may need. */
uint64_t config_descriptors(uint64_t max_streams, uint64_t max_sessions);

struct config *config_ref(struct config *config);
void config_unref(struct config *config); /* NULL is harmless */

/* The default of every key, from the key table, as one YAML document with comments: what
 * conf/postern.yaml must hold, and docs/configuration.md list. */
void config_describe(struct text *out);

#endif
