/*
 * The allowlist of AWS's vsock-proxy: which servers its command line may name.
 *
 *     allowlist:
 *     - {address: kms.us-east-1.amazonaws.com, port: 443}
 *
 * Read with that tool's own semantics, since a file that worked must go on working: the first document
 * counts, unknown keys are ignored, and an entry that is ill-typed matters only when the walk comes to it.
 * The verdicts are that tool's words with the reason behind them ("No address field: FILE:LINE:COL: ...").
 * Unlike that tool, a port beyond 65535 is not cut to 16 bits but refused, and an empty file is told.
 *
 * Bounded: the size of the file, its depth, the entries and the anchors; nothing is expanded and nothing
 * recurses, so the work is linear in the file. Nothing is asked of the network here: the caller brings the
 * look-up.
 */
#ifndef POSTERN_CONFIG_ALLOWLIST_H
#define POSTERN_CONFIG_ALLOWLIST_H

#include "base/compiler.h"
#include "base/diag.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ALLOWLIST_FILE_MAX       1048576
#define ALLOWLIST_ENTRIES_MAX    16384
#define ALLOWLIST_KEYS_MAX       64  /* of an entry, which aliases can name again and again */
#define ALLOWLIST_DEPTH_MAX      32  /* libyaml goes through all open brackets at each token, */
#define ALLOWLIST_ANCHORS_MAX    256 /* compares each anchor with all before it */
#define ALLOWLIST_DIRECTIVES_MAX 16  /* and each %TAG too */

enum allow_defect {
    ALLOW_SOUND,
    ALLOW_NO_ADDRESS,
    ALLOW_NO_PORT,
};

struct allow_entry {
    enum allow_defect defect;
    char *address; /* owned; NULL under ALLOW_NO_ADDRESS */
    uint16_t port; /* 1..65535, 0 under a defect */
    struct place place;
};

struct allowlist {
    char *file; /* owned; the name to show */
    struct allow_entry *entries;
    size_t count;
};

/* Reads `file`. Returns 0, or a negative errno value with the words in `err`; *ret is then empty. */
int allowlist_load(const char *file, struct allowlist *ret, struct error *err) MUST_CHECK;

/* The same for text already in memory. */
int allowlist_parse(const char *file, const char *data, size_t size, struct allowlist *ret,
                    struct error *err) MUST_CHECK;

void allowlist_release(struct allowlist *list); /* leaves an empty list behind */

/* What was expected where an entry is not sound. */
const char *allow_defect_words(enum allow_defect defect);

#define ALLOW_IPS_MAX 64

struct allow_ip {
    int family; /* AF_INET or AF_INET6 */
    unsigned char bytes[16];
};

struct allow_ips {
    size_t count; /* in the resolver's order */
    struct allow_ip list[ALLOW_IPS_MAX];
};

/* Turns a host name or an IP address into addresses of every family. Returns 0, or a negative errno value
 * with the reason in `err`. */
typedef int (*allow_lookup)(void *data, const char *host, struct allow_ips *ret, struct error *err);

struct allow_request {
    const char *host; /* as it stands on the command line: names are compared byte for byte */
    uint16_t port;
    int family; /* AF_INET, AF_INET6: other addresses do not count; 0: all do */
    allow_lookup lookup;
    void *data; /* of `lookup` */
};

struct allow_match {
    const struct allow_entry *entry; /* lives as long as the list */
    bool by_name;                    /* the same string; otherwise the same IP address */
    struct allow_ip ip;              /* the first that the requested host has */
};

/*
 * Whether the list allows the server asked for: a walk in the file's order, an entry with that port matching
 * by the same string, else by leading to the IP address that the server's name has first. Look-ups of
 * entries that fail are passed over. An entry that matches by name is found without looking up the others;
 * the verdict is that of the plain walk.
 *
 * Returns 0; -EACCES: not allowed; -EINVAL: an ill-typed entry was met; another negative errno value: the
 * server's own name could not be looked up.
 */
int allowlist_check(const struct allowlist *list, const struct allow_request *request,
                    struct allow_match *ret, struct error *err) MUST_CHECK;

#endif
