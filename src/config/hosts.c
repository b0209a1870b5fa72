/* What a connect route may connect to. */
#include "base/escape.h"
#include "config/build.h"
#include "config/utf8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_pattern_port_and_place(const void *left, const void *right)
{
    const struct config_host *a = left;
    const struct config_host *b = right;
    int order = strcmp(a->pattern, b->pattern);
    if (order != 0 || a->port != b->port) {
        return order != 0 ? order : a->port < b->port ? -1 : 1;
    }
    if (a->place.line != b->place.line) {
        return a->place.line < b->place.line ? -1 : 1;
    }
    return a->place.column < b->place.column ? -1 : 1;
}

static void tell_host(struct build *build, const struct key *key, const struct node *item, const char *why)
{
    const char *shown = escape_user(item->text);
    build_tell(build, item->place, key->name, "\"%s%.*s\" is not a host and its port: %s",
               shown != item->text ? "..." : "", utf8_clip(shown), shown, why);
}

/* "*.example.com:443" is read as example.com:443 is, with the wildcard put back in front. */
static bool read_host(struct build *build, const struct key *key, const struct node *item,
                      struct config_host *host)
{
    struct addr addr;
    char address[TREE_TEXT_MAX + 16];
    char pattern[ADDR_HOST_MAX + 2];
    bool wild = strncmp(item->text, "*.", 2) == 0;
    const char *rest = wild ? item->text + 2 : item->text;
    snprintf(address, sizeof address, "tcp://%s", rest);
    if (strchr(rest, '*') != NULL) {
        tell_host(build, key, item, "a wildcard is `*.` in front and nowhere else");
        return false;
    }
    if (strstr(item->text, "://") != NULL) {
        tell_host(build, key, item, "leave the scheme out");
        return false;
    }
    if (addr_parse(address, &addr, NULL) != 0 || (wild && addr.literal)) {
        tell_host(build, key, item,
                  "expected e.g. api.example.com:443, \"*.example.com:443\", 192.0.2.1:443 or "
                  "\"[2001:db8::1]:443\"");
        return false;
    }
    snprintf(pattern, sizeof pattern, "%s%s", wild ? "*." : "", addr.host);
    *host = (struct config_host){.pattern = build_strdup(build, pattern),
                                 .port = (uint16_t)addr.port,
                                 .place = item->place};
    return host->pattern != NULL;
}

/* Sorts them, as policy_host() wants them, and tells those that are there twice. */
static void sort_hosts(struct build *build, const struct key *key, struct config_route *route)
{
    qsort(route->hosts, route->host_count, sizeof *route->hosts, by_pattern_port_and_place);
    const struct config_host *first = route->hosts;
    for (unsigned i = 1; i < route->host_count; i++) {
        const struct config_host *host = &route->hosts[i];
        if (strcmp(first->pattern, host->pattern) != 0 || first->port != host->port) {
            first = host;
            continue;
        }
        build_tell(build, host->place, key->name,
                   "%s:%u is here twice (letters count the same in either case): the first is at line %u, "
                   "column %u",
                   first->pattern, first->port, first->place.line, first->place.column);
    }
}

void set_hosts(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_route *route = object;
    if (value->kind != NODE_LIST || value->count == 0) {
        build_expected(build, key, value, NULL);
        return;
    }
    route->hosts = build_alloc(build, value->count, sizeof *route->hosts);
    if (route->hosts == NULL) {
        return;
    }
    for (const struct node *item = value->first; item != NULL; item = item->next) {
        if (item->kind == NODE_TEXT) {
            route->host_count += read_host(build, key, item, &route->hosts[route->host_count]);
        } else {
            build_expected_what(build, key, item, "a host and its port, such as api.example.com:443", NULL);
        }
    }
    sort_hosts(build, key, route);
}
