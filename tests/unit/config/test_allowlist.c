/* The allowlist of vsock-proxy: what is read from a file, and what is then allowed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/allowlist.h"
#include "contains.h"
#include "fault.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Reading ---- */

static int parse(const char *text, struct allowlist *list, struct error *err)
{
    return allowlist_parse("list.yaml", text, strlen(text), list, err);
}

static void assert_starts(const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0) {
        fail_msg("\"%s\" does not start with \"%s\"", text, start);
    }
}

static void assert_refused(const char *text, const char *message)
{
    struct allowlist list;
    struct error err = ERROR_INIT;
    assert_int_equal(parse(text, &list, &err), -EINVAL);
    assert_starts(err.text, message);
    assert_null(list.file);
    assert_null(list.entries);
    assert_int_equal(list.count, 0);
}

static void test_reads_entries(void **state)
{
    (void)state;
    struct allowlist list;
    struct error err = ERROR_INIT;
    assert_int_equal(parse("# a comment\n"
                           "version: 9\n"
                           "allowlist:\n"
                           "- {address: kms.us-east-1.amazonaws.com, port: 443}\n"
                           "- address: \"10.0.0.1\"\n"
                           "  port: 8443\n"
                           "  note: unknown keys are ignored\n",
                           &list, &err),
                     0);
    assert_string_equal(list.file, "list.yaml");
    assert_int_equal(list.count, 2);
    assert_string_equal(list.entries[0].address, "kms.us-east-1.amazonaws.com");
    assert_int_equal(list.entries[0].port, 443);
    assert_int_equal(list.entries[0].defect, ALLOW_SOUND);
    assert_int_equal(list.entries[0].place.line, 4);
    assert_int_equal(list.entries[0].place.column, 3);
    assert_string_equal(list.entries[1].address, "10.0.0.1");
    assert_int_equal(list.entries[1].port, 8443);
    allowlist_release(&list);
    allowlist_release(&list); /* harmless on an empty one */
}

static void test_reads_the_first_document_alone(void **state)
{
    (void)state;
    struct allowlist list;
    struct error err = ERROR_INIT;
    assert_int_equal(parse("---\nallowlist: [{address: a.example, port: 1}]\n"
                           "---\nallowlist: [{address: b.example, port: 2}]\n---\nfree\n",
                           &list, &err),
                     0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.entries[0].address, "a.example");
    allowlist_release(&list);
    assert_refused("allowlist: []\n---\n{broken\n", "Bad yaml format: list.yaml:");
}

static void test_follows_aliases(void **state)
{
    (void)state;
    struct allowlist list;
    struct error err = ERROR_INIT;
    assert_int_equal(parse("p: &p 443\nallowlist: &l\n- &e {address: a.example, port: *p}\n- *e\n- *l\n",
                           &list, &err),
                     0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.entries[1].address, "a.example");
    assert_int_equal(list.entries[1].port, 443);
    assert_int_equal(list.entries[2].defect, ALLOW_NO_ADDRESS);
    allowlist_release(&list);
}

static void test_refuses_what_is_no_list(void **state)
{
    (void)state;
    static const char no_list[] = "No allowlist field: list.yaml:";
    assert_refused("", "No allowlist field: list.yaml: the file is empty; expected `allowlist:`");
    assert_refused("# nothing but a comment\n", "No allowlist field: list.yaml: the file is empty");
    assert_refused("---\n", no_list);
    assert_refused("- allowlist\n", no_list);
    assert_refused("whitelist: []\n", no_list);
    assert_refused("allowlist:\n", "No allowlist field: list.yaml:1:11: ");
    assert_refused("allowlist: {address: a, port: 1}\n", no_list);
    assert_refused("allowlist: everything\n", no_list);
    assert_refused("[allowlist]: []\n", no_list);
}

static void test_refuses_what_is_no_yaml(void **state)
{
    (void)state;
    assert_refused("allowlist: [\n", "Bad yaml format: list.yaml:2:1: ");
    assert_refused("\tallowlist: []\n", "Bad yaml format: list.yaml:1:1: ");
    assert_refused("allowlist: [*nowhere]\n", "Bad yaml format: list.yaml:1:13: ");
    assert_refused("allowlist: \xff\xfe\n", "Bad yaml format: list.yaml: byte 11: ");
    assert_refused("allowlist: []\nallowlist: []\n",
                   "Bad yaml format: list.yaml:2:1: the key stands here a second");
    assert_refused("allowlist: [{address: a, address: b, port: 1}]\n", "Bad yaml format: list.yaml:1:26: ");
    assert_refused("allowlist: [{address: a, port: 1, port: 2}]\n", "Bad yaml format: list.yaml:1:35: ");
}

static void assert_entry(const char *text, enum allow_defect defect, uint16_t port)
{
    char file[1200];
    struct allowlist list;
    struct error err = ERROR_INIT;
    snprintf(file, sizeof file, "allowlist:\n- %s\n", text);
    if (parse(file, &list, &err) != 0) {
        fail_msg("%s: %s", text, err.text);
    }
    assert_int_equal(list.count, 1);
    if (list.entries[0].defect != defect || list.entries[0].port != port) {
        fail_msg("%s: defect %d port %u", text, (int)list.entries[0].defect, list.entries[0].port);
    }
    assert_int_equal(list.entries[0].address == NULL, defect == ALLOW_NO_ADDRESS);
    allowlist_release(&list);
}

static void test_an_address_is_a_string(void **state)
{
    (void)state;
    static const char *const others[] = {
        "12",   "+12",  "-1",    "0x1f", "0o17", "1.5",   ".5",   "1.",  "1e5",    "-1.5E-3", "~",
        "null", "true", "False", "TRUE", ".inf", "-.inf", ".NaN", "[a]", "{a: b}", "",        "\"a\\0b\"",
    };
    static const char *const strings[] = {
        "kms.example", "1.2.3.4", "::1",    "1e",     "e5", "0x",   "0xg",
        "0o8",         "nullx",   "\"12\"", "'true'", "+",  "1.2e", "\"\"",
    };
    char entry[128];
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        snprintf(entry, sizeof entry, "{port: 443, address: %s}", others[i]);
        assert_entry(entry, ALLOW_NO_ADDRESS, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
        snprintf(entry, sizeof entry, "port: 443\n  address: %s", strings[i]);
        assert_entry(entry, ALLOW_SOUND, 443);
    }
    assert_entry("{port: 443}", ALLOW_NO_ADDRESS, 0);
    assert_entry("just a string", ALLOW_NO_ADDRESS, 0);
    assert_entry("[address, port]", ALLOW_NO_ADDRESS, 0);
}

static void test_an_address_is_no_longer_than_a_name(void **state)
{
    (void)state;
    char entry[512];
    snprintf(entry, sizeof entry, "{address: %0253d.x, port: 1}", 0);
    assert_entry(entry, ALLOW_NO_ADDRESS, 0);
    snprintf(entry, sizeof entry, "{address: %0251d.x, port: 1}", 0);
    assert_entry(entry, ALLOW_SOUND, 1);
}

static void test_a_port_is_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t port;
    } ports[] = {
        {"443", 443},
        {"+443", 443},
        {"0x1BB", 443},
        {"0o673", 443},
        {"0443", 443},
        {"65535", 65535},
        {"1", 1},
        {"0", 0},
        {"-443", 0},
        {"65979", 0},
        {"65536", 0},
        {"443.0", 0},
        {"4_4_3", 0},
        {"443x", 0},
        {"\"443\"", 0},
        {"https", 0},
        {"~", 0},
        {"", 0},
        {"[443]", 0},
        {"{a: 443}", 0},
        {"0x", 0},
        {"0x1bbg", 0},
        {"+", 0},
        {"+-1", 0},
        {"99999999999999999999999", 0},
        {"0x1000000000000000000bb", 0},
    };
    char entry[128];
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        snprintf(entry, sizeof entry, "{address: a.example, port: %s}", ports[i].text);
        assert_entry(entry, ports[i].port > 0 ? ALLOW_SOUND : ALLOW_NO_PORT, ports[i].port);
    }
    assert_entry("{address: a.example}", ALLOW_NO_PORT, 0);
}

static char *repeat(const char *head, const char *piece, size_t times)
{
    char *text = malloc(strlen(head) + times * strlen(piece) + 1);
    assert_non_null(text);
    char *end = stpcpy(text, head);
    for (size_t i = 0; i < times; i++) {
        end = stpcpy(end, piece);
    }
    return text;
}

static void test_bounds(void **state)
{
    (void)state;
    struct allowlist list;
    struct error err = ERROR_INIT;

    char *entries = repeat("e: &e {address: a, port: 1}\nallowlist:\n", "- *e\n", ALLOWLIST_ENTRIES_MAX);
    assert_int_equal(parse(entries, &list, &err), 0);
    assert_int_equal(list.count, ALLOWLIST_ENTRIES_MAX);
    allowlist_release(&list);
    free(entries);

    entries = repeat("e: &e {address: a, port: 1}\nallowlist:\n", "- *e\n", ALLOWLIST_ENTRIES_MAX + 1);
    assert_int_equal(parse(entries, &list, &err), -E2BIG);
    assert_starts(err.text, "Could not read the file: list.yaml: 16385 entries");
    free(entries);

    entries = repeat("#", "0123456789abcdef", ALLOWLIST_FILE_MAX / 16);
    assert_int_equal(parse(entries, &list, &err), -EFBIG);
    assert_contains(err.text, "larger than 1048576 bytes");
    free(entries);
}

/* Each would keep libyaml busy for minutes: it goes through all open brackets at every token, through
 * all anchors at every anchor, and so on. */
static void test_costly_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        const char *piece;
        const char *message;
    } files[] = {
        {"allowlist: ", "[", "Could not read the file: list.yaml: more than 32 levels"},
        {"allowlist: ", "{", "Could not read the file: list.yaml: more than 32 levels"},
        {"", "- ", "Could not read the file: list.yaml: more than 32 levels"},
        {"? ", "? ", "Could not read the file: list.yaml: more than 32 levels"},
        {"allowlist:\n", "- &a b\n", "Could not read the file: list.yaml: more than 256 anchors"},
        {"allowlist: [", "&a [],", "Could not read the file: list.yaml: more than 256 anchors"},
        {"allowlist: [", "&a {},", "Could not read the file: list.yaml: more than 256 anchors"},
        {"allowlist:\n- x: y\n", "  a: b\n",
         "Could not read the file: list.yaml: more than 64 keys in one entry"},
        {"", "%TAG !a! b\n", "Could not read the file: list.yaml: more than 16 directives"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct allowlist list;
        struct error err = ERROR_INIT;
        char *text =
            repeat(files[i].head, files[i].piece, (ALLOWLIST_FILE_MAX - 64) / strlen(files[i].piece));
        assert_int_equal(parse(text, &list, &err), -E2BIG);
        assert_starts(err.text, files[i].message);
        free(text);
    }
}

/* To libyaml these end a line; to the tool whose file this is, and to whoever reads it, they stand in a comment. */
static void test_a_comment_hides_no_entry(void **state)
{
    static const char *const ends[] = {"\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct allowlist list;
        struct error err = ERROR_INIT;
        char text[128];
        snprintf(text, sizeof text,
                 "allowlist:\n- {address: a, port: 1}\n# as before%s- {address: b, port: 2}\n", ends[i]);
        assert_int_equal(parse(text, &list, &err), -EINVAL);
        assert_starts(err.text, "Bad yaml format: list.yaml:3:12: ");
    }
}

/* ---- Files ---- */

static void test_loads_a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/allowlist-XXXXXX";
    static const char text[] = "allowlist: [{address: a.example, port: 443}]\n";
    struct allowlist list;
    struct error err = ERROR_INIT;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(allowlist_load(path, &list, &err), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.file, path);
    allowlist_release(&list);
    assert_int_equal(ftruncate(fd, ALLOWLIST_FILE_MAX + 1), 0);
    assert_int_equal(allowlist_load(path, &list, &err), -EFBIG);
    close(fd);
    unlink(path);
}

static void test_says_why_a_file_cannot_be_read(void **state)
{
    (void)state;
    struct allowlist list;
    struct error err = ERROR_INIT;
    assert_int_equal(allowlist_load("/nonexistent/list.yaml", &list, &err), -ENOENT);
    assert_string_equal(
        err.text, "Could not open the file: /nonexistent/list.yaml: No such file or directory; name the "
                  "allowlist that you have, or write one there: see vsock-proxy(8)");
    allowlist_release(&list);
    assert_int_equal(allowlist_load("/", &list, &err), -EISDIR);
    assert_string_equal(err.text, "Could not read the file: /: Is a directory; name the allowlist in it");
    allowlist_release(&list);
    /* That one is not even root's to read. */
    assert_int_equal(allowlist_load("/proc/sys/vm/compact_memory", &list, &err), -EACCES);
    assert_string_equal(err.text,
                        "Could not open the file: /proc/sys/vm/compact_memory: Permission denied; let "
                        "the user who runs this read it");
    allowlist_release(&list);
    assert_int_equal(allowlist_load("/proc/self/mem", &list, &err), -EIO);
    assert_string_equal(err.text, "Could not read the file: /proc/self/mem: Input/output error");
    allowlist_release(&list);
}

static void load_once(void *arg)
{
    struct allowlist list;
    struct error err = ERROR_INIT;
    int rc = allowlist_load(arg, &list, &err);
    if (rc != 0 && rc != -ENOMEM && rc != -EMFILE && rc != -EIO) {
        fail_msg("%d: %s", rc, err.text);
    }
    assert_int_equal(err.text[0] == '\0', rc == 0);
    assert_int_equal(list.count, rc == 0 ? 3 : 0);
    allowlist_release(&list);
}

static void test_failing_calls(void **state)
{
    (void)state;
    char path[] = "/tmp/allowlist-XXXXXX";
    static const char text[] =
        "p: &p 443\nallowlist:\n- &e {address: a.example, port: *p}\n- *e\n- {port: 1}\n";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    assert_true(fault_loop("allowlist", FAULT_MEMORY, load_once, path) >= 20);
    assert_true(fault_loop("allowlist, memory gone", FAULT_MEMORY | FAULT_STICKY, load_once, path) >= 20);
    assert_int_equal(fault_loop("allowlist files", FAULT_OPEN | FAULT_READ, load_once, path), 3);
    unlink(path);
}

/* ---- Matching ---- */

/* A resolver of four names, which notes what it was asked. */
struct names {
    unsigned asked;
    char log[256];
};

static void add_ip(struct allow_ips *ips, const char *text)
{
    struct allow_ip *ip = &ips->list[ips->count++];
    *ip = (struct allow_ip){.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};
    assert_int_equal(inet_pton(ip->family, text, ip->bytes), 1);
}

static int lookup(void *data, const char *host, struct allow_ips *ret, struct error *err)
{
    static const struct {
        const char *host;
        const char *ips[3];
    } zone[] = {
        {"a.example", {"192.0.2.1", "192.0.2.2", NULL}},
        {"b.example", {"192.0.2.2", NULL}},
        {"same.example", {"192.0.2.9", "192.0.2.1", NULL}},
        {"dual.example", {"2001:db8::1", "192.0.2.5", NULL}},
        {"six.example", {"2001:db8::1", NULL}},
        {"192.0.2.1", {"192.0.2.1", NULL}},
        {"192.0.2.5", {"192.0.2.5", NULL}},
        {"none.example", {NULL}},
    };
    struct names *names = data;
    names->asked++;
    size_t length = strlen(names->log);
    snprintf(names->log + length, sizeof names->log - length, "%s ", host);
    for (size_t i = 0; i < ARRAY_SIZE(zone); i++) {
        if (strcmp(zone[i].host, host) == 0) {
            for (const char *const *ip = zone[i].ips; *ip != NULL; ip++) {
                add_ip(ret, *ip);
            }
            return 0;
        }
    }
    return error_set(err, -ENOENT, "DNS lookup failed!: %s", host);
}

struct verdict {
    int rc;
    size_t entry;
    struct allow_match match;
    struct error err;
    struct names names;
};

static struct verdict check(const char *text, const char *host, uint16_t port, int family)
{
    struct verdict verdict = {.err = ERROR_INIT};
    struct allowlist list;
    assert_int_equal(parse(text, &list, &verdict.err), 0);
    struct allow_request request = {
        .host = host, .port = port, .family = family, .lookup = lookup, .data = &verdict.names};
    verdict.rc = allowlist_check(&list, &request, &verdict.match, &verdict.err);
    verdict.entry = verdict.rc == 0 ? (size_t)(verdict.match.entry - list.entries) : SIZE_MAX;
    allowlist_release(&list);
    return verdict;
}

static void test_matches_the_same_string(void **state)
{
    (void)state;
    struct verdict v = check("allowlist:\n"
                             "- {address: b.example, port: 443}\n"
                             "- {address: a.example, port: 80}\n"
                             "- {address: a.example, port: 443}\n"
                             "- {never: looked at}\n",
                             "a.example", 443, 0);
    assert_int_equal(v.rc, 0);
    assert_int_equal(v.entry, 2);
    assert_true(v.match.by_name);
    assert_int_equal(v.match.ip.bytes[3], 1);
    /* Only the server itself is looked up. */
    assert_string_equal(v.names.log, "a.example ");
}

static void test_matches_the_same_address(void **state)
{
    (void)state;
    static const char list[] = "allowlist:\n"
                               "- {address: unknown.example, port: 443}\n"
                               "- {address: b.example, port: 443}\n"
                               "- {address: none.example, port: 443}\n"
                               "- {address: 192.0.2.1, port: 80}\n"
                               "- {address: same.example, port: 443}\n";
    struct verdict v = check(list, "a.example", 443, 0);
    assert_int_equal(v.rc, 0);
    assert_int_equal(v.entry, 4);
    assert_false(v.match.by_name);
    assert_string_equal(v.names.log, "a.example unknown.example b.example none.example same.example ");

    /* The first address of the server counts, not its others. */
    v = check("allowlist: [{address: b.example, port: 443}]", "a.example", 443, 0);
    assert_int_equal(v.rc, -EACCES);

    v = check("allowlist: [{address: a.example, port: 443}]", "192.0.2.1", 443, 0);
    assert_int_equal(v.rc, 0);
    assert_false(v.match.by_name);
}

static void test_filters_by_family(void **state)
{
    (void)state;
    static const char list[] =
        "allowlist:\n- {address: six.example, port: 1}\n- {address: 192.0.2.5, port: 1}\n";
    struct verdict v = check(list, "dual.example", 1, 0);
    assert_int_equal(v.rc, 0);
    assert_int_equal(v.entry, 0);
    assert_int_equal(v.match.ip.family, AF_INET6);
    v = check(list, "dual.example", 1, AF_INET);
    assert_int_equal(v.rc, 0);
    assert_int_equal(v.entry, 1);
    assert_int_equal(v.match.ip.family, AF_INET);
    v = check(list, "dual.example", 1, AF_INET6);
    assert_int_equal(v.rc, 0);
    assert_int_equal(v.entry, 0);
    v = check(list, "a.example", 1, AF_INET6);
    assert_int_equal(v.rc, -ENOENT);
    assert_string_equal(v.err.text,
                        "No accepted IP was found.: a.example has none of the kind that -6 asks for");
    v = check(list, "six.example", 1, AF_INET);
    assert_int_equal(v.rc, -ENOENT);
    assert_string_equal(v.err.text,
                        "No accepted IP was found.: six.example has none of the kind that -4 asks for");
}

static void test_the_server_itself_must_resolve(void **state)
{
    (void)state;
    static const char list[] = "allowlist: [{address: unknown.example, port: 1}]";
    struct verdict v = check(list, "unknown.example", 1, 0);
    assert_int_equal(v.rc, -ENOENT);
    assert_string_equal(v.err.text, "DNS lookup failed!: unknown.example");
    v = check(list, "none.example", 1, 0);
    assert_int_equal(v.rc, -ENOENT);
    assert_string_equal(v.err.text, "DNS lookup returned no IP addresses!: none.example");
}

static void test_an_ill_typed_entry_ends_the_walk(void **state)
{
    (void)state;
    struct verdict v =
        check("allowlist:\n- {address: b.example, port: 1}\n- {port: 1}\n- {address: a.example, port: 1}\n",
              "a.example", 1, 0);
    assert_int_equal(v.rc, -EINVAL);
    assert_string_equal(
        v.err.text, "No address field: list.yaml:3:3: expected `address:` with a host name or an IP address");
    v = check("allowlist:\n- {address: z.example, port: 65979}\n", "a.example", 443, 0);
    assert_int_equal(v.rc, -EINVAL);
    assert_string_equal(
        v.err.text,
        "No port field or invalid type: list.yaml:2:3: expected `port:` with a number from 1 to 65535");
    /* But not when an entry before it leads to the server. */
    v = check(
        "allowlist:\n- {address: same.example, port: 1}\n- {port: 1}\n- {address: a.example, port: 1}\n",
        "a.example", 1, 0);
    assert_int_equal(v.rc, 0);
    assert_int_equal(v.entry, 0);
}

static void test_says_what_would_be_allowed(void **state)
{
    (void)state;
    struct verdict v = check("allowlist: []", "a.example", 443, 0);
    assert_int_equal(v.rc, -EACCES);
    assert_string_equal(v.err.text,
                        "The given address and port are not allowed: list.yaml does not list a.example with "
                        "port 443; to allow it, add `- {address: a.example, port: 443}`");
    v = check("allowlist:\n- {port: 1, address: b.example}\n- {address: a.example, port: 8443}\n- {port: 1}",
              "a.example", 443, 0);
    assert_int_equal(v.rc, -EINVAL);
    v = check("allowlist:\n- {port: 1, address: b.example}\n- {address: A.example, port: 8443}\n",
              "a.example", 443, 0);
    assert_int_equal(v.rc, -EACCES);
    assert_string_equal(v.err.text,
                        "The given address and port are not allowed: list.yaml:3:3: it lists A.example with "
                        "port 8443, and a.example with port 443 was asked for");
}

/* A list of one line each would be what AWS ships. Names differ in case, and there they are different. */
static void test_compares_byte_for_byte(void **state)
{
    (void)state;
    struct verdict v = check("allowlist: [{address: UNKNOWN.example, port: 443}]", "a.example", 443, 0);
    assert_int_equal(v.rc, -EACCES);
    v = check("allowlist: [{address: A.EXAMPLE, port: 443}]", "a.example", 443, 0);
    assert_int_equal(v.rc, -EACCES); /* this resolver does not know A.EXAMPLE */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_entries),
        cmocka_unit_test(test_reads_the_first_document_alone),
        cmocka_unit_test(test_follows_aliases),
        cmocka_unit_test(test_refuses_what_is_no_list),
        cmocka_unit_test(test_refuses_what_is_no_yaml),
        cmocka_unit_test(test_an_address_is_a_string),
        cmocka_unit_test(test_an_address_is_no_longer_than_a_name),
        cmocka_unit_test(test_a_port_is_a_number),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_costly_files_are_refused),
        cmocka_unit_test(test_a_comment_hides_no_entry),
        cmocka_unit_test(test_loads_a_file),
        cmocka_unit_test(test_says_why_a_file_cannot_be_read),
        cmocka_unit_test(test_failing_calls),
        cmocka_unit_test(test_matches_the_same_string),
        cmocka_unit_test(test_matches_the_same_address),
        cmocka_unit_test(test_filters_by_family),
        cmocka_unit_test(test_the_server_itself_must_resolve),
        cmocka_unit_test(test_an_ill_typed_entry_ends_the_walk),
        cmocka_unit_test(test_says_what_would_be_allowed),
        cmocka_unit_test(test_compares_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
