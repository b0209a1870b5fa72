/*
 * posternctl convert-allowlist: from an allowlist of AWS's vsock-proxy to a configuration of Postern.
 *
 * Every TLS server of the list (a name, at port 443) is reached through one listener at the port that the
 * enclaves use already: the name in the ClientHello is the destination, so nothing changes for them, and a
 * dozen vsock-proxy processes become one. What cannot be told apart by a ClientHello gets a port of its
 * own. Besides, each server has a route under its own name, to be given to some enclaves and not to
 * others.
 *
 * What is printed has been read by the daemon's own reader first.
 */
#include "base/units.h"
#include "config/allowlist.h"
#include "config/config.h"
#include "ctl/ctl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TLS_PORT     443
#define DEFAULT_PORT 8000
#define COMMON_NAME  "allowlist" /* of the listener and the route that all TLS servers share */
#define SERVERS_MAX  4096        /* a configuration does not hold more */

struct server {
    struct addr to;
    char name[CONFIG_NAME_MAX + 1]; /* of its route */
    bool tls;
};

struct servers {
    struct server *list; /* owned */
    size_t count;
    size_t tls_count;
};

/* ---- From entries to servers ---- */

static bool known(const struct servers *servers, const struct addr *to)
{
    for (size_t i = 0; i < servers->count; i++) {
        if (addr_equal(&servers->list[i].to, to)) {
            return true;
        }
    }
    return false;
}

static bool name_taken(const struct servers *servers, const char *name)
{
    if (strcmp(name, COMMON_NAME) == 0 ||
        strcmp(name, "null") == 0) { /* YAML has its own idea of that word */
        return true;
    }
    for (size_t i = 0; i < servers->count; i++) {
        if (strcmp(servers->list[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Letters, digits and underscores stay, everything else becomes one dash. */
static void plain_name(const char *host, char name[ADDR_HOST_MAX])
{
    size_t length = 0;
    for (const char *c = host; *c != '\0'; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_';
        if (plain && (length > 0 || *c != '_')) {
            name[length++] = *c;
        } else if (length > 0 && name[length - 1] != '-') {
            name[length++] = '-';
        }
    }
    name[length] = '\0';
}

/* kms.us-east-1.amazonaws.com becomes kms-us-east-1-amazonaws-com; other ports than 443 are added, and the
 * place in the list where two would be called the same. */
static void make_name(const struct servers *servers, struct server *server)
{
    char host[ADDR_HOST_MAX];
    char suffix[32] = "";
    size_t number = servers->count;
    int port_length = 0;
    plain_name(server->to.host, host);
    if (server->to.port != TLS_PORT) {
        port_length = snprintf(suffix, sizeof suffix, "-%u", server->to.port);
    }
    do {
        int room = CONFIG_NAME_MAX - (int)strlen(suffix);
        snprintf(server->name, sizeof server->name, "%.*s%s", room, host[0] != '\0' ? host : "server",
                 suffix);
        number++;
        snprintf(suffix + port_length, sizeof suffix - (size_t)port_length, "-%zu", number);
    } while (name_taken(servers, server->name));
}

static int entry_address(const struct allow_entry *entry, struct addr *ret, struct error *err)
{
    char text[ADDR_TEXT_MAX];
    bool ipv6 = entry->address != NULL && strchr(entry->address, ':') != NULL;
    if (entry->defect != ALLOW_SOUND) {
        return error_set(err, -EINVAL, "%s", allow_defect_words(entry->defect));
    }
    snprintf(text, sizeof text, ipv6 ? "tcp://[%s]:%u" : "tcp://%s:%u", entry->address, entry->port);
    return addr_parse(text, ret, err);
}

/* Takes what can be converted, and notes everything that cannot. */
static void take_entries(const struct allowlist *list, struct servers *servers, struct diags *diags)
{
    for (size_t i = 0; i < list->count; i++) {
        struct error err = ERROR_INIT;
        struct server *server = &servers->list[servers->count];
        if (entry_address(&list->entries[i], &server->to, &err) != 0) {
            diags_add(diags, list->entries[i].place, "%s", err.text);
        } else if (!known(servers, &server->to)) {
            server->tls = !server->to.literal && server->to.port == TLS_PORT;
            make_name(servers, server);
            servers->tls_count += server->tls;
            servers->count++;
        }
    }
}

/* ---- From servers to a configuration ---- */

static void add_listener(struct text *out, const char *name, uint32_t port)
{
    text_addf(out,
              "  %s:\n"
              "    listen: vsock://parent:%u\n"
              "    protocol: raw\n"
              "    route: %s\n"
              "    allow: any\n",
              name, port, name);
}

static void add_listeners(struct text *out, const struct servers *servers, uint32_t port)
{
    text_add(out, "listeners:\n");
    if (servers->tls_count > 0) {
        text_add(
            out,
            "  # All TLS servers of the list at one port: the name in the ClientHello is the destination.\n"
            "  # An enclave that reached one of them through vsock-proxy at this port needs no change.\n");
        add_listener(out, COMMON_NAME, port++);
    }
    if (servers->tls_count < servers->count) {
        text_add(out,
                 "  # These have a port each, since no ClientHello tells them apart. Choose the ports.\n");
    }
    for (size_t i = 0; i < servers->count; i++) {
        if (!servers->list[i].tls) {
            add_listener(out, servers->list[i].name, port++);
        }
    }
    text_add(out, "\n");
}

/* A name without a dot could be a word that means something else in YAML. */
static void add_host(struct text *out, const struct server *server)
{
    const char *quote = strchr(server->to.host, '.') != NULL ? "" : "\"";
    text_addf(out, "%s%s%s", quote, server->to.host, quote);
}

static void add_common_route(struct text *out, const struct servers *servers)
{
    text_addf(out,
              "  %s:\n"
              "    type: relay\n"
              "    to: sni\n"
              "    port: %d\n"
              "    sni:\n",
              COMMON_NAME, TLS_PORT);
    for (size_t i = 0; i < servers->count; i++) {
        if (!servers->list[i].tls) {
            continue;
        }
        text_add(out, "      - ");
        add_host(out, &servers->list[i]);
        text_add(out, "\n");
    }
    text_add(out, "    # Private addresses are refused unless a route says otherwise. If VPC endpoints "
                  "answer for these\n"
                  "    # names, they resolve to private addresses, and this line is needed:\n"
                  "    # allow_private: true\n");
}

static void add_route(struct text *out, const struct server *server)
{
    char to[ADDR_TEXT_MAX];
    text_addf(out,
              "  %s:\n"
              "    type: relay\n"
              "    to: %s\n",
              server->name, addr_format(&server->to, to));
    if (server->tls) {
        text_add(out, "    sni: [");
        add_host(out, server);
        text_add(out, "]\n");
    }
}

static void add_routes(struct text *out, const struct servers *servers)
{
    text_add(out, "routes:\n");
    if (servers->tls_count > 0) {
        add_common_route(out, servers);
        text_add(out, "\n  # The same servers one by one, for listeners that should reach that one alone.\n");
    }
    for (size_t i = 0; i < servers->count; i++) {
        add_route(out, &servers->list[i]);
    }
}

static void make_config(struct text *out, const struct allowlist *list, const struct servers *servers,
                        uint32_t port)
{
    /* A file's name may hold anything, and must not end the comment. */
    text_add(out, "# Made from the allowlist of vsock-proxy \"");
    text_add_json(out, list->file, strlen(list->file));
    text_add(out, "\".\n"
                  "# `posternd --check --config FILE` checks it; docs/configuration.md has the other keys.\n"
                  "version: 1\n"
                  "\n"
                  "# vsock-proxy lets in whoever connects. Better: name the enclaves, and write\n"
                  "# `allow: [payroll]` instead of `allow: any` below.\n"
                  "# enclaves:\n"
                  "#   payroll: {cid: 16}\n"
                  "\n");
    add_listeners(out, servers, port);
    add_routes(out, servers);
}

/* ---- The command ---- */

static int failed(const struct ctl *ctl, const struct allowlist *list, const char *why)
{
    char text[ERROR_TEXT_MAX];
    snprintf(text, sizeof text, "cannot convert %s: %s", list->file, why);
    return ctl_failed(ctl, text);
}

/* Shows the mistakes, and says of what. */
static int refused(const struct ctl *ctl, const struct allowlist *list, struct diags *diags, const char *why)
{
    struct text text = TEXT_INIT;
    diags_format(diags, &text);
    fputs(text_string(&text), ctl->err);
    text_release(&text);
    return failed(ctl, list, why);
}

static int print_checked(const struct ctl *ctl, const struct allowlist *list, const struct text *made)
{
    struct diags diags;
    struct config *config = NULL;
    int code = CTL_DONE;
    diags_init(&diags, "the configuration made of it");
    if (config_parse(diags.file, text_string(made), made->length, &config, &diags) == 0) {
        fputs(text_string(made), ctl->out);
        config_unref(config);
    } else {
        code = refused(ctl, list, &diags, "posternd would refuse what comes of it");
    }
    diags_release(&diags);
    return code;
}

static int print_config(const struct ctl *ctl, const struct allowlist *list, const struct servers *servers,
                        uint32_t port)
{
    struct text made = TEXT_INIT;
    make_config(&made, list, servers, port);
    int code = made.failed ? failed(ctl, list, "out of memory") : print_checked(ctl, list, &made);
    text_release(&made);
    return code;
}

static int convert_entries(const struct ctl *ctl, const struct allowlist *list, struct servers *servers,
                           uint32_t port)
{
    struct diags diags;
    diags_init(&diags, list->file);
    take_entries(list, servers, &diags);
    int code = diags.total > 0 ? refused(ctl, list, &diags, "correct or remove these entries first")
                               : print_config(ctl, list, servers, port);
    diags_release(&diags);
    return code;
}

static int convert_list(const struct ctl *ctl, const struct allowlist *list, uint32_t port)
{
    struct servers servers = {.list = NULL};
    if (list->count == 0) {
        return failed(ctl, list, "it has no entries");
    }
    if (list->count > SERVERS_MAX) {
        return failed(ctl, list, "it has more than 4096 entries, which is more than one configuration holds");
    }
    servers.list = calloc(list->count, sizeof *servers.list);
    if (servers.list == NULL) {
        return failed(ctl, list, "out of memory");
    }
    int code = convert_entries(ctl, list, &servers, port);
    free(servers.list);
    return code;
}

static int convert_file(const struct ctl *ctl, const char *file, uint32_t port)
{
    struct allowlist list;
    struct error err = ERROR_INIT;
    if (allowlist_load(file, &list, &err) != 0) {
        return ctl_failed(ctl, err.text);
    }
    int code = convert_list(ctl, &list, port);
    allowlist_release(&list);
    return code;
}

int ctl_convert_allowlist(struct ctl *ctl, int argc, char **argv)
{
    static const struct option own[] = {{"listen-port", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
    uint64_t port = DEFAULT_PORT;
    int code = CTL_DONE;
    int option;
    while ((option = ctl_next_option(ctl, argc, argv, own, &code)) >= 0) {
        /* Every listener after the first takes the next port, and the largest number is none. */
        if (units_parse_u64(optarg, UINT32_MAX - SERVERS_MAX - 1, &port) != 0 || port == 0) {
            return ctl_usage_error(ctl, "--listen-port %s: expected a vsock port, such as 8000", optarg);
        }
    }
    if (option == CTL_OPTIONS_STOP) {
        return code;
    }
    if (argc - optind != 1) {
        return ctl_usage_error(
            ctl, "expected one FILE: the allowlist, usually /etc/nitro_enclaves/vsock-proxy.yaml");
    }
    return convert_file(ctl, argv[optind], (uint32_t)port);
}
