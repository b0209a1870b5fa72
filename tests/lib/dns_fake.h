/*
 * A DNS server on the test's own loop, over UDP and TCP at one port of 127.0.0.1. It answers by rules, one
 * a name, and counts what it was asked. A name without a rule does not exist.
 */
#ifndef POSTERN_TESTS_DNS_FAKE_H
#define POSTERN_TESTS_DNS_FAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define DNS_RULES_MAX   64
#define DNS_CLIENTS_MAX 8
#define DNS_DELAYED_MAX 32

enum { DNS_FORMERR = 1, DNS_SERVFAIL = 2, DNS_NXDOMAIN = 3, DNS_REFUSED = 5 };

struct dns_rule {
    const char *name;
    uint32_t ttl;
    unsigned a;      /* how many addresses: 192.0.2.1 + base, and so on upwards */
    unsigned aaaa;   /* 2001:db8::1 + base, and so on */
    unsigned base;   /* to make another answer */
    bool same;       /* every address is the first one */
    unsigned rcode;  /* 0, or DNS_... */
    bool drop;       /* no answer at all */
    bool drop_aaaa;  /* none to questions for IPv6 addresses */
    bool truncate;   /* over UDP, say that TCP is to be used */
    bool garbage;    /* bytes that are no DNS message */
    bool broken;     /* the right header and question, then nonsense */
    bool wrong_name; /* addresses of a name that was not asked for */
    unsigned delay_ms;
    const char *cname; /* an alias of that name, whose addresses follow */
    uint32_t cname_ttl;
    bool cname_only; /* without its addresses */

    unsigned asked_a, asked_aaaa, asked_tcp; /* counted */
};

struct dns_fake {
    uv_loop_t *loop;
    uv_udp_t udp;
    uv_tcp_t tcp;
    char servers[32]; /* "127.0.0.1:PORT" */
    bool silent;      /* reads, and never answers */
    unsigned asked;   /* questions seen */
    unsigned rule_count;
    struct dns_rule rules[DNS_RULES_MAX];
    struct dns_client *clients[DNS_CLIENTS_MAX];
    struct dns_delayed *delayed[DNS_DELAYED_MAX];
    char packet[65536];
};

/* Its handles do not keep the loop running. */
void dns_fake_open(struct dns_fake *fake, uv_loop_t *loop);

/* Closes and runs the loop until all is closed. */
void dns_fake_close(struct dns_fake *fake);

/* Sends now what is delayed. */
void dns_fake_hurry(struct dns_fake *fake);

/* The rule for the name, a new one if need be: to be filled in. */
struct dns_rule *dns_fake_rule(struct dns_fake *fake, const char *name);

#endif
