/*
 * The documents made from the key table are those in the repository: conf/postern.yaml, and the marked parts
 * of docs/configuration.md and of the manual page. `test_config_describe --write` brings them up to date.
 */
#include "base/text.h"
#include "config/config.h"
#include "config/keys.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONF   PROJECT_DIR "/conf/postern.yaml"
#define FRESH  PROJECT_DIR "/conf/fresh/postern.yaml"
#define MANUAL PROJECT_DIR "/docs/configuration.md"
#define PAGE   PROJECT_DIR "/docs/man/postern.yaml.5"

static const char manual_from[] = "<!-- keys: made by test_config_describe --write -->\n";
static const char manual_to[] = "<!-- end of keys -->\n";
static const char page_from[] = ".\\\" keys: made by test_config_describe --write\n";
static const char page_to[] = ".\\\" end of keys\n";

static void read_file(const char *path, struct text *out)
{
    char buffer[4096];
    size_t n = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("cannot open %s: %s", path, strerror(errno));
        abort();
    }
    while ((n = fread(buffer, 1, sizeof buffer, file)) > 0) {
        text_add_bytes(out, buffer, n);
    }
    fclose(file);
    assert_false(out->failed);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        fail_msg("cannot open %s: %s", path, strerror(errno));
        abort();
    }
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Shows the first line that differs, since the whole is long. */
static void assert_same(const char *path, const char *found, const char *expected)
{
    unsigned line = 1;
    size_t start = 0;
    size_t i = 0;
    for (; found[i] == expected[i] && found[i] != '\0'; i++) {
        if (found[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    if (found[i] != expected[i]) {
        fail_msg("%s:%u: found\n%.*s\nexpected\n%.*s\nrun test_config_describe --write", path, line,
                 (int)strcspn(found + start, "\n"), found + start, (int)strcspn(expected + start, "\n"),
                 expected + start);
    }
}

/* The file with what stands between the marks replaced by `part`. */
static void with_part(const char *path, const char *from, const char *to, const char *part,
                      struct text *before, struct text *after)
{
    read_file(path, before);
    const char *start = strstr(text_string(before), from);
    const char *end = strstr(text_string(before), to);
    assert_non_null(start);
    assert_non_null(end);
    assert_true(start < end);
    text_add_bytes(after, text_string(before), (size_t)(start - text_string(before)) + strlen(from));
    text_add(after, part);
    text_add(after, end);
    assert_false(after->failed);
}

static void check_part(const char *path, const char *from, const char *to, void (*make)(struct text *))
{
    struct text part = TEXT_INIT;
    struct text before = TEXT_INIT;
    struct text after = TEXT_INIT;
    make(&part);
    with_part(path, from, to, text_string(&part), &before, &after);
    assert_same(path, text_string(&before), text_string(&after));
    text_release(&part);
    text_release(&before);
    text_release(&after);
}

static void write_part(const char *path, const char *from, const char *to, void (*make)(struct text *))
{
    struct text part = TEXT_INIT;
    struct text before = TEXT_INIT;
    struct text after = TEXT_INIT;
    make(&part);
    with_part(path, from, to, text_string(&part), &before, &after);
    write_file(path, text_string(&after));
    text_release(&part);
    text_release(&before);
    text_release(&after);
}

static void test_conf(void **state)
{
    struct text expected = TEXT_INIT;
    struct text found = TEXT_INIT;
    (void)state;
    config_describe(&expected);
    assert_false(expected.failed);
    read_file(CONF, &found);
    assert_same(CONF, text_string(&found), text_string(&expected));
    text_release(&expected);
    text_release(&found);
}

static void test_manual(void **state)
{
    (void)state;
    check_part(MANUAL, manual_from, manual_to, keys_markdown);
}

static void test_page(void **state)
{
    (void)state;
    check_part(PAGE, page_from, page_to, keys_mdoc);
}

static void assert_same_singles(const struct config *a, const struct config *b)
{
    assert_int_equal(a->workers, b->workers);
    assert_int_equal(a->log_level, b->log_level);
    assert_int_equal(a->log_format, b->log_format);
    assert_true(addr_equal(&a->admin, &b->admin));
    assert_true(addr_equal(&a->metrics, &b->metrics));
    assert_int_equal(a->max_streams, b->max_streams);
    assert_int_equal(a->max_sessions, b->max_sessions);
    assert_int_equal(a->drain_timeout_ms, b->drain_timeout_ms);
    assert_null(a->dns.servers);
    assert_memory_equal(&a->dns, &b->dns, sizeof a->dns);
    assert_memory_equal(&a->vsock, &b->vsock, sizeof a->vsock);
    assert_memory_equal(&a->sessions, &b->sessions, sizeof a->sessions);
    assert_string_equal(a->spool.path, b->spool.path);
    assert_int_equal(a->spool.max_bytes, b->spool.max_bytes);
    assert_int_equal(a->spool.max_enclave_bytes, b->spool.max_enclave_bytes);
}

/* conf/postern.yaml is a configuration, and one in which nothing differs from the defaults. */
static void test_conf_holds_defaults(void **state)
{
    struct text text = TEXT_INIT;
    struct diags diags;
    struct config *config = NULL;
    struct config *defaults = config_new("defaults");
    struct config_route route;
    (void)state;
    assert_non_null(defaults);
    diags_init(&diags, CONF);
    assert_int_equal(config_load(CONF, &config, &diags), 0);
    assert_same_singles(config, defaults);
    config_route_init(&route);
    for (unsigned i = 0; i < config->route_count; i++) {
        const struct config_route *found = &config->routes[i];
        assert_int_equal(found->port, route.port);
        assert_int_equal(found->family, route.family);
        assert_int_equal(found->allow_private, route.allow_private);
        assert_int_equal(found->max_streams, route.max_streams);
        assert_int_equal(found->level, route.level);
        assert_int_equal(found->lines_per_second, route.lines_per_second);
        assert_int_equal(found->hello_timeout_ms, route.hello_timeout_ms);
        assert_int_equal(found->connect_timeout_ms, route.connect_timeout_ms);
        assert_int_equal(found->first_byte_timeout_ms, route.first_byte_timeout_ms);
        assert_int_equal(found->idle_timeout_ms, route.idle_timeout_ms);
        assert_int_equal(found->half_closed_timeout_ms, route.half_closed_timeout_ms);
    }
    assert_int_equal(config->enclaves[0].max_streams, 1024);
    assert_int_equal(config->enclaves[0].max_sessions, 8);
    assert_int_equal(config->listeners[1].mode, 0660);
    diags_release(&diags);
    config_unref(config);
    config_unref(defaults);
    text_release(&text);
}

/* What a fresh installation has lets nobody in; its example, without the comment signs, is a configuration. */
static void test_the_installed_file(void **state)
{
    struct text shown = TEXT_INIT;
    struct diags diags;
    struct config *config = NULL;
    char line[256];
    FILE *file = fopen(FRESH, "re");
    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        bool prose =
            line[0] == '#' && line[1] == ' ' && (line[2] != ' ' || (line[3] >= '1' && line[3] <= '9'));
        text_add(&shown, prose ? "" : line[0] == '#' ? line + 1 : line);
    }
    fclose(file);
    diags_init(&diags, FRESH);
    assert_int_equal(config_load(FRESH, &config, &diags), 0);
    assert_int_equal(config->enclave_count + config->listener_count + config->route_count, 0);
    config_unref(config);
    assert_int_equal(config_parse(FRESH, shown.data, shown.length, &config, &diags), 0);
    assert_int_equal(config->enclave_count, 1);
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->route_count, 1);
    config_unref(config);
    diags_release(&diags);
    text_release(&shown);
}

/* The text without the signs of the comments that are configuration: "  #imds:". */
static void uncomment(const char *text, struct text *out)
{
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n") + 1;
        size_t indent = strspn(line, " ");
        bool sign = line[indent] == '#' && (line[indent + 1] != ' ' || line[indent + 2] == ' ');
        text_addf(out, "%*s", (int)(sign ? indent : 0), "");
        text_add_bytes(out, line + (sign ? indent + 1 : 0), length - (sign ? indent + 1 : 0));
        line += length;
    }
}

/* The way to the credentials of the parent's role is shown, and closed until somebody opens it. */
static void test_the_metadata_route_is_a_comment(void **state)
{
    struct text shown = TEXT_INIT;
    struct text open = TEXT_INIT;
    struct diags diags;
    struct config *config = NULL;
    unsigned routes = 0;
    (void)state;
    diags_init(&diags, CONF);
    config_describe(&shown);
    assert_int_equal(config_parse(CONF, shown.data, shown.length, &config, &diags), 0);
    routes = config->route_count;
    for (unsigned i = 0; i < routes; i++) {
        assert_string_not_equal(config->routes[i].name, "imds");
    }
    config_unref(config);
    uncomment(text_string(&shown), &open);
    assert_int_equal(config_parse(CONF, open.data, open.length, &config, &diags), 0);
    assert_int_equal(config->route_count, routes + 1);
    assert_string_equal(config->routes[routes].name, "imds");
    config_unref(config);
    diags_release(&diags);
    text_release(&shown);
    text_release(&open);
}

/* Whether the line is a key of that name: "  name: ...". */
static bool line_has_key(const char *line, const char *name)
{
    line += strspn(line, " ");
    size_t length = strlen(name);
    return strncmp(line, name, length) == 0 && line[length] == ':' && strchr(" \n", line[length + 1]) != NULL;
}

/* Every key stands there, in its section, with its default. */
static void test_conf_has_every_key(void **state)
{
    struct text text = TEXT_INIT;
    (void)state;
    config_describe(&text);
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        char section[64] = "";
        bool found = false;
        const char *line = text_string(&text);
        for (; *line != '\0' && !found; line = strchr(line, '\n') + 1) {
            if (line[0] >= 'a' && line[0] <= 'z') {
                snprintf(section, sizeof section, "%.*s", (int)strcspn(line, ":"), line);
            }
            enum scope scope = key->scope < SCOPE_SECTIONS ? key->scope : SCOPE_ROUTE;
            bool inside =
                scope == SCOPE_FILE ? line[0] != ' ' : strcmp(section, key_sections[scope].name) == 0;
            const char *value = strchr(line, ':');
            found = inside && line_has_key(line, key->name) &&
                    (key->fallback == NULL || strstr(value, key->fallback) < strchr(line, '\n'));
        }
        if (!found) {
            fail_msg("%s is not described with its default", key->name);
        }
    }
    text_release(&text);
}

/* Conditions that the makers of the documents rely on. */
static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        struct text expects = TEXT_INIT;
        assert_ptr_equal(key_find(key->scope, key->name), key);
        assert_non_null(key->doc);
        assert_int_equal(key->doc[strlen(key->doc) - 1], '.');
        assert_null(strpbrk(key->doc, "|\\"));
        assert_false(key->required && key->fallback != NULL);
        assert_true((key->kind == KEY_SPECIAL) == (key->set != NULL));
        assert_true((key->kind == KEY_SPECIAL) == (key->expects != NULL));
        assert_true((key->kind == KEY_CHOICE) == (key->choices != NULL));
        assert_true((key->kind == KEY_MAP) == (key->within >= SCOPE_SECTIONS));
        assert_true(key->scope == SCOPE_ROUTE || (key->types == 0 && !key->in_forward));
        assert_true(!key->in_forward || key->types == 1u << CONFIG_FORWARD);
        key_expects(key, &expects);
        assert_true(expects.length > 0);
        assert_null(strpbrk(text_string(&expects), "|\\"));
        text_release(&expects);
    }
    assert_null(key_find(SCOPE_FILE, "level"));
}

static int write_all(void)
{
    struct text conf = TEXT_INIT;
    config_describe(&conf);
    write_file(CONF, text_string(&conf));
    text_release(&conf);
    write_part(MANUAL, manual_from, manual_to, keys_markdown);
    write_part(PAGE, page_from, page_to, keys_mdoc);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_conf_has_every_key),
        cmocka_unit_test(test_conf_holds_defaults),
        cmocka_unit_test(test_the_installed_file),
        cmocka_unit_test(test_the_metadata_route_is_a_comment),
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_manual),
        cmocka_unit_test(test_page),
    };
    if (argc > 1 && strcmp(argv[1], "--write") == 0) {
        return write_all();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
