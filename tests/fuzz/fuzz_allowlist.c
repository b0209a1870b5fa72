/*
 * Any text as an allowlist. The first line names the server that is asked for, the rest is the file. Names
 * lead to addresses made from their letters, so that different ones meet. The verdict must be that of the
 * plain walk through the list, as the tool whose format this is makes it.
 */
#include "config/allowlist.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static int lookup(void *data, const char *host, struct allow_ips *ret, struct error *err)
{
    size_t length = strlen(host);
    unsigned sum = 0;
    (void)data;
    for (size_t i = 0; i < length; i++) {
        sum += (unsigned char)host[i];
    }
    if (sum % 7 == 0) {
        return error_set(err, -ENOENT, "DNS lookup failed!");
    }
    ret->count = sum % 4;
    for (unsigned i = 0; i < ret->count; i++) {
        ret->list[i] =
            (struct allow_ip){(sum + i) % 3 == 0 ? AF_INET6 : AF_INET, {(unsigned char)((sum + i) % 5)}};
    }
    return 0;
}

/* The addresses of one family, as `request` asks for. */
static size_t look_up(const struct allow_request *request, const char *host, struct allow_ips *ips)
{
    size_t kept = 0;
    *ips = (struct allow_ips){.count = 0};
    if (lookup(NULL, host, ips, NULL) != 0) {
        return 0;
    }
    for (size_t i = 0; i < ips->count; i++) {
        if (request->family == 0 || ips->list[i].family == request->family) {
            ips->list[kept++] = ips->list[i];
        }
    }
    return kept;
}

static bool leads_to(const struct allow_request *request, const char *host, const struct allow_ip *ip)
{
    struct allow_ips ips;
    size_t count = look_up(request, host, &ips);
    for (size_t i = 0; i < count; i++) {
        if (ips.list[i].family == ip->family &&
            memcmp(ips.list[i].bytes, ip->bytes, sizeof(ip->bytes)) == 0) {
            return true;
        }
    }
    return false;
}

static int plain_walk(const struct allowlist *list, const struct allow_request *request)
{
    struct allow_ips ips;
    if (look_up(request, request->host, &ips) == 0) {
        return -ENOENT;
    }
    for (size_t i = 0; i < list->count; i++) {
        const struct allow_entry *entry = &list->entries[i];
        if (entry->defect != ALLOW_SOUND) {
            return -EINVAL;
        }
        if (entry->port != request->port) {
            continue;
        }
        if (strcmp(entry->address, request->host) == 0 || leads_to(request, entry->address, &ips.list[0])) {
            return 0;
        }
    }
    return -EACCES;
}

static void check_list(const struct allowlist *list, const char *host, uint16_t port, int family)
{
    struct allow_request request = {.host = host, .port = port, .family = family, .lookup = lookup};
    struct allow_match match = {.entry = NULL};
    struct error err = ERROR_INIT;
    int rc = allowlist_check(list, &request, &match, &err);
    require(rc == plain_walk(list, &request));
    if (rc != 0) {
        require(err.text[0] != '\0');
        return;
    }
    require(match.entry >= list->entries && match.entry < list->entries + list->count);
    require(match.entry->port == port && match.entry->defect == ALLOW_SOUND);
    require(!match.by_name || strcmp(match.entry->address, host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t host_length = end != NULL ? (size_t)(end - data) : 0;
    size_t used = end != NULL ? host_length + 1 : 0;
    struct allowlist list;
    struct error err = ERROR_INIT;
    char *host = strndup((const char *)data, host_length);
    if (host == NULL) {
        return 0;
    }
    if (allowlist_parse("fuzz", (const char *)data + used, size - used, &list, &err) == 0) {
        check_list(&list, host, 443, 0);
        check_list(&list, host, 443, AF_INET);
        check_list(&list, host, 80, AF_INET6);
        allowlist_release(&list);
    } else {
        require(err.text[0] != '\0' && list.entries == NULL && list.count == 0);
    }
    free(host);
    return 0;
}
