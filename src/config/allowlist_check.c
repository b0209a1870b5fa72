/*
 * What an allowlist allows.
 *
 * The tool whose file this is walks the list once and looks up every entry with the right port on the way,
 * though almost always a later one is the very string asked for. Here the walk goes by strings first, up to
 * the match or to the first ill-typed entry, and by addresses second, up to the same place: the entries
 * considered and the verdict are the same, without forty look-ups at each start.
 */
#include "config/allowlist.h"

#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

const char *allow_defect_words(enum allow_defect defect)
{
    return defect == ALLOW_NO_ADDRESS ? "expected `address:` with a host name or an IP address"
                                      : "expected `port:` with a number from 1 to 65535";
}

static int refuse_entry(const struct allowlist *list, const struct allow_entry *entry, struct error *err)
{
    const char *words =
        entry->defect == ALLOW_NO_ADDRESS ? "No address field" : "No port field or invalid type";
    return error_set(err, -EINVAL, "%s: %s:%u:%u: %s", words, list->file, entry->place.line,
                     entry->place.column, allow_defect_words(entry->defect));
}

/* Keeps the addresses of the family asked for. Returns whether any is left. */
static bool keep_family(struct allow_ips *ips, int family)
{
    size_t kept = 0;
    for (size_t i = 0; i < ips->count; i++) {
        if (family == 0 || ips->list[i].family == family) {
            ips->list[kept++] = ips->list[i];
        }
    }
    ips->count = kept;
    return kept > 0;
}

static bool same_ip(const struct allow_ip *a, const struct allow_ip *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == AF_INET ? 4 : 16) == 0;
}

static bool leads_to(const struct allow_entry *entry, const struct allow_request *request,
                     const struct allow_ip *ip)
{
    struct allow_ips ips = {.count = 0};
    if (request->lookup(request->data, entry->address, &ips, NULL) != 0 ||
        !keep_family(&ips, request->family)) {
        return false;
    }
    for (size_t i = 0; i < ips.count; i++) {
        if (same_ip(&ips.list[i], ip)) {
            return true;
        }
    }
    return false;
}

/* The entry the walk by strings stops at: the one asked for, an ill-typed one, or list->count. */
static size_t walk_names(const struct allowlist *list, const struct allow_request *request)
{
    size_t i = 0;
    while (i < list->count && list->entries[i].defect == ALLOW_SOUND &&
           (list->entries[i].port != request->port || strcmp(list->entries[i].address, request->host) != 0)) {
        i++;
    }
    return i;
}

/* The first of the `count` entries that leads to `ip`, or NULL. */
static const struct allow_entry *walk_addresses(const struct allowlist *list, size_t count,
                                                const struct allow_request *request,
                                                const struct allow_ip *ip)
{
    for (size_t i = 0; i < count; i++) {
        if (list->entries[i].port == request->port && leads_to(&list->entries[i], request, ip)) {
            return &list->entries[i];
        }
    }
    return NULL;
}

/* An entry that almost names the server asked for: what was probably meant. */
static const struct allow_entry *nearest(const struct allowlist *list, const struct allow_request *request)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->entries[i].defect == ALLOW_SOUND &&
            strcasecmp(list->entries[i].address, request->host) == 0) {
            return &list->entries[i];
        }
    }
    return NULL;
}

static int refuse(const struct allowlist *list, const struct allow_request *request, struct error *err)
{
    static const char words[] = "The given address and port are not allowed";
    const struct allow_entry *near = nearest(list, request);
    if (near == NULL) {
        return error_set(err, -EACCES,
                         "%s: %s does not list %s with port %u; to allow it, add `- {address: %s, port: %u}`",
                         words, list->file, request->host, request->port, request->host, request->port);
    }
    return error_set(err, -EACCES,
                     "%s: %s:%u:%u: it lists %s with port %u, and %s with port %u was asked for", words,
                     list->file, near->place.line, near->place.column, near->address, near->port,
                     request->host, request->port);
}

static int first_ip(const struct allow_request *request, struct allow_ip *ret, struct error *err)
{
    struct allow_ips ips = {.count = 0};
    int rc = request->lookup(request->data, request->host, &ips, err);
    if (rc != 0) {
        return rc;
    }
    if (ips.count == 0) {
        return error_set(err, -ENOENT, "DNS lookup returned no IP addresses!: %s", request->host);
    }
    if (!keep_family(&ips, request->family)) {
        return error_set(err, -ENOENT, "No accepted IP was found.: %s has none of the kind that %s asks for",
                         request->host, request->family == AF_INET ? "-4" : "-6");
    }
    *ret = ips.list[0];
    return 0;
}

int allowlist_check(const struct allowlist *list, const struct allow_request *request,
                    struct allow_match *ret, struct error *err)
{
    struct allow_match match = {.by_name = false};
    int rc = first_ip(request, &match.ip, err);
    if (rc != 0) {
        return rc;
    }
    size_t stop = walk_names(list, request);
    bool stopped = stop < list->count;
    match.by_name = stopped && list->entries[stop].defect == ALLOW_SOUND;
    match.entry = match.by_name ? &list->entries[stop] : walk_addresses(list, stop, request, &match.ip);
    if (match.entry != NULL) {
        *ret = match;
        return 0;
    }
    return stopped ? refuse_entry(list, &list->entries[stop], err) : refuse(list, request, err);
}
