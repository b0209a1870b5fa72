/*
 * The key table as documents: a commented configuration, a Markdown table, and a list for the manual page.
 *
 * A configuration needs entries to show the keys of entries on. The examples below are what a user of
 * AWS's vsock-proxy has today, the same over a unix socket and with the destination chosen by name, and a
 * session. One more stands in comment signs: a route that must be meant.
 */
#include "base/text.h"
#include "config/config.h"
#include "config/keys.h"
#include <string.h>

#define DOC_WIDTH  100
#define MDOC_WIDTH 78

struct example {
    enum scope scope;
    const char *entry;
    const char *key;
    const char *value; /* NULL: the default */
};

static const struct example examples[] = {
    {SCOPE_FILE, "", "version", "1"},

    {SCOPE_ENCLAVE, "payroll", "cid", "16"},

    {SCOPE_LISTENER, "kms-raw", "listen", "vsock://any:8000"},
    {SCOPE_LISTENER, "kms-raw", "route", "kms"},
    {SCOPE_LISTENER, "kms-raw", "allow", "[payroll]"},
    {SCOPE_LISTENER, "kms-dev", "listen", "unix:///run/postern/kms.sock"},
    {SCOPE_LISTENER, "kms-dev", "route", "aws"},
    {SCOPE_LISTENER, "kms-dev", "allow", "[payroll]"},
    {SCOPE_LISTENER, "kms-dev", "peer", "payroll"},
    {SCOPE_LISTENER, "kms-dev", "mode", NULL},
    {SCOPE_LISTENER, "session", "listen", "vsock://any:7000"},
    {SCOPE_LISTENER, "session", "protocol", "framed"},
    {SCOPE_LISTENER, "session", "allow", "{payroll: [kms, logs, time, results, archive, web]}"},

    {SCOPE_ROUTE, "kms", "type", "relay"},
    {SCOPE_ROUTE, "kms", "to", "tcp://kms.us-east-1.amazonaws.com:443"},
    {SCOPE_ROUTE, "kms", "sni", "[kms.us-east-1.amazonaws.com]"},
    {SCOPE_ROUTE, "aws", "type", "relay"},
    {SCOPE_ROUTE, "aws", "to", "sni"},
    {SCOPE_ROUTE, "aws", "sni", "[\"*.us-east-1.amazonaws.com\"]"},
    {SCOPE_ROUTE, "aws", "port", NULL},
    {SCOPE_ROUTE, "logs", "type", "log"},
    {SCOPE_ROUTE, "logs", "level", NULL},
    {SCOPE_ROUTE, "logs", "lines_per_second", NULL},
    {SCOPE_ROUTE, "time", "type", "time"},

    {SCOPE_ROUTE, "results", "type", "forward"},
    {SCOPE_ROUTE, "results", "to", "https://results.example.com/v1"},
    {SCOPE_ROUTE, "results", "methods", "[POST, PUT]"},
    {SCOPE_ROUTE, "results", "paths", "[/results]"},
    {SCOPE_ROUTE, "results", "query", NULL},
    {SCOPE_ROUTE, "results", "content_types", "[application/json]"},
    {SCOPE_ROUTE, "results", "headers", NULL},
    {SCOPE_HEADERS, "results", "set",
     "{authorization: \"Bearer ${credential:token}\", x-enclave: \"${enclave}\"}"},
    {SCOPE_HEADERS, "results", "add", "{via: \"1.1 postern\"}"},
    {SCOPE_HEADERS, "results", "remove", "[x-internal]"},
    {SCOPE_ROUTE, "results", "max_head", NULL},
    {SCOPE_ROUTE, "results", "max_headers", NULL},
    {SCOPE_ROUTE, "results", "max_target", NULL},
    {SCOPE_ROUTE, "results", "max_body", NULL},
    {SCOPE_ROUTE, "results", "head_timeout", NULL},
    {SCOPE_ROUTE, "results", "response_timeout", NULL},
    {SCOPE_ROUTE, "results", "max_idle", NULL},
    {SCOPE_ROUTE, "results", "keep", NULL},
    {SCOPE_ROUTE, "results", "tls", NULL},
    {SCOPE_TLS, "results", "ca", "/etc/postern/results-ca.pem"},
    {SCOPE_TLS, "results", "cert", "/etc/postern/results-cert.pem"},
    {SCOPE_TLS, "results", "key", "/etc/postern/results-key.pem"},
    {SCOPE_ROUTE, "results", "delivery", NULL},

    {SCOPE_ROUTE, "archive", "type", "forward"},
    {SCOPE_ROUTE, "archive", "to", "https://archive.s3.us-east-1.amazonaws.com"},
    {SCOPE_ROUTE, "archive", "sign", NULL},
    {SCOPE_SIGN, "archive", "aws", NULL},
    {SCOPE_AWS, "archive", "service", "s3"},
    {SCOPE_AWS, "archive", "region", "us-east-1"},
    {SCOPE_AWS, "archive", "payload", NULL},
    {SCOPE_AWS, "archive", "max_body", NULL},
    {SCOPE_AWS, "archive", "credentials", NULL},
    {SCOPE_AWS, "archive", "file", "/etc/postern/aws-credentials"},
    {SCOPE_AWS, "archive", "profile", "default"},
    {SCOPE_ROUTE, "archive", "delivery", "spool"},
    {SCOPE_ROUTE, "archive", "retry", NULL},
    {SCOPE_RETRY, "archive", "attempts", NULL},
    {SCOPE_RETRY, "archive", "max_age", NULL},
    {SCOPE_RETRY, "archive", "min_pause", NULL},
    {SCOPE_RETRY, "archive", "max_pause", NULL},
    {SCOPE_ROUTE, "archive", "in_flight", NULL},
    {SCOPE_ROUTE, "archive", "max_spool", NULL},

    {SCOPE_ROUTE, "web", "type", "connect"},
    {SCOPE_ROUTE, "web", "hosts", "[\"api.example.com:443\", \"*.s3.amazonaws.com:443\"]"},
};

static const struct example *example_of(const char *entry, const struct key *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        const struct example *example = &examples[i];
        if (example->scope == key->scope && strcmp(example->entry, entry) == 0 &&
            strcmp(example->key, key->name) == 0) {
            return example;
        }
    }
    return NULL;
}

/* How much of the words goes on a line: up to the last blank within the width, or to the end of a line. */
static size_t line_length(const char *words, size_t width)
{
    size_t length = strcspn(words, "\n");
    if (length <= width) {
        return length;
    }
    length = width;
    while (length > 0 && words[length] != ' ') {
        length--;
    }
    return length > 0 ? length : width;
}

/* Words as lines of at most DOC_WIDTH, each behind `indent` blanks and "# ". */
static void add_comment(struct text *out, unsigned indent, const char *words)
{
    const size_t width = DOC_WIDTH - indent - 2;
    while (*words != '\0') {
        size_t length = line_length(words, width);
        text_addf(out, "%*s# %.*s\n", (int)indent, "", (int)length, words);
        words += length;
        words += *words == ' ';
    }
}

static void add_key_comment(struct text *out, unsigned indent, const struct key *key)
{
    struct text words = TEXT_INIT;
    text_add(&words, key->doc);
    if (key->kind != KEY_MAP) {
        text_add(&words, " Expects ");
        key_expects(key, &words);
        text_add(&words, ".");
    }
    add_comment(out, indent, text_string(&words));
    out->failed = out->failed || words.failed;
    text_release(&words);
}

/* Digits that are no number are shown in quotes, for readers that know YAML better than this table. */
static void add_value(struct text *out, const struct key *key, const char *value)
{
    bool quote = key->kind == KEY_SPECIAL && key->min == 0 && value[0] == '0';
    text_addf(out, quote ? "\"%s\"" : "%s", value);
}

static void add_key(struct text *out, unsigned indent, const struct key *key, const char *value)
{
    text_addf(out, "%*s%s: ", (int)indent, "", key->name);
    add_value(out, key, value);
    text_add_char(out, '\n');
}

static bool first_seen(const struct example *example)
{
    for (const struct example *before = examples; before < example; before++) {
        if (before->scope == example->scope && strcmp(before->key, example->key) == 0) {
            return false;
        }
    }
    return true;
}

static void add_entry_keys(struct text *out, enum scope scope, const char *entry, bool first,
                           unsigned indent);

/* The key with its value, or with its keys below. */
static void add_entry_key(struct text *out, unsigned indent, const struct key *key, const char *value,
                          const char *entry)
{
    if (key->kind != KEY_MAP) {
        add_key(out, indent, key, value);
        return;
    }
    text_addf(out, "%*s%s:\n", (int)indent, "", key->name);
    add_entry_keys(out, key->within, entry, false, indent + 2);
}

/* The first entry of a section shows every key that has a default; each shows those it is an example of. */
static void add_entry_keys(struct text *out, enum scope scope, const char *entry, bool first, unsigned indent)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        const struct example *example = key->scope == scope ? example_of(entry, key) : NULL;
        const char *value = example != NULL && example->value != NULL ? example->value : key->fallback;
        bool shown = example != NULL || (first && key->scope == scope && value != NULL && !key->conditional);
        if (!shown) {
            continue;
        }
        if (example == NULL || first_seen(example)) {
            add_key_comment(out, indent, key);
        }
        add_entry_key(out, indent, key, value, entry);
    }
}

static void add_entries(struct text *out, enum scope scope)
{
    const char *before = "";
    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        if (examples[i].scope == scope && strcmp(examples[i].entry, before) != 0) {
            text_addf(out, "  %s:\n", examples[i].entry);
            add_entry_keys(out, scope, examples[i].entry, before[0] == '\0', 4);
            before = examples[i].entry;
        }
    }
}

/* Its default; or the example of a key that has none. */
static const char *value_to_show(const struct key *key)
{
    const struct example *example = example_of("", key);
    return key->fallback != NULL || example == NULL ? key->fallback : example->value;
}

static void add_plain_keys(struct text *out, enum scope scope, unsigned indent)
{
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        if (key->scope == scope) {
            add_key_comment(out, indent, key);
            add_key(out, indent, key, value_to_show(key));
        }
    }
}

/* A route that is shown and not in force: who may take it gets the credentials of the parent's role. */
static void add_metadata_route(struct text *out)
{
    add_comment(
        out, 2,
        "The instance metadata service, for an enclave that calls AWS with the role of its parent. Whoever "
        "may take this route has that role's credentials: put it into `allow` of those who need them alone.");
    text_add(out, "  #imds:\n  #  type: relay\n  #  to: tcp://169.254.169.254:80\n");
}

void config_describe(struct text *out)
{
    add_comment(
        out, 0,
        "Postern's configuration: every key, at its default where it has one. A key that is left out has its "
        "default. The enclaves, listeners and routes are examples: put your own there. Check the file with "
        "`posternd --check --config FILE`.");
    text_add_char(out, '\n');
    add_plain_keys(out, SCOPE_FILE, 0);
    for (int i = SCOPE_FILE + 1; i < SCOPE_SECTIONS; i++) {
        enum scope scope = (enum scope)i;
        text_add_char(out, '\n');
        add_comment(out, 0, key_sections[scope].doc);
        text_addf(out, "%s:\n", key_sections[scope].name);
        if (scope < SCOPE_ENCLAVE) {
            add_plain_keys(out, scope, 2);
        } else {
            add_entries(out, scope);
        }
    }
    add_metadata_route(out);
}

static const char *default_of(const struct key *key)
{
    return key->fallback != NULL ? key->fallback : key->required ? "required" : "none";
}

/* A row a key. "|" would end a cell; no text in the table has one, and a test sees to it. */
void keys_markdown(struct text *out)
{
    text_add(out, "| Key | Default | Expects | Meaning |\n|---|---|---|---|\n");
    for (size_t i = 0; i < key_count; i++) {
        const struct key *key = &key_table[i];
        text_add(out, "| `");
        key_path(key, out);
        text_addf(out, key->fallback != NULL ? "` | `%s` | " : "` | %s | ", default_of(key));
        key_expects(key, out);
        text_addf(out, " | %s |\n", key->doc);
    }
}

/* Words in the mdoc language. A backslash would be a command, but no text in the table has one, and a test
 * sees to it. Sentences start new lines, as mdoc's checker wants; "e.g. " ends none. */
static void add_mdoc(struct text *out, const char *words)
{
    for (const char *c = words; *c != '\0'; c++) {
        if (*c == '`') {
            text_add(out, "\\(aq");
        } else if (strncmp(c, ". ", 2) == 0 && (c == words || c[-1] != 'g')) {
            text_add(out, ".\n");
            c++;
        } else {
            text_add_char(out, *c);
        }
    }
    text_add_char(out, '\n');
}

/* Lines of at most MDOC_WIDTH. A dot or quote in front of a line would be a command, so \& goes first. */
static void add_wrapped(struct text *out, const char *lines)
{
    while (*lines != '\0') {
        size_t length = line_length(lines, MDOC_WIDTH);
        text_addf(out, "%s%.*s\n", *lines == '.' || *lines == '\'' ? "\\&" : "", (int)length, lines);
        lines += length;
        lines += *lines != '\0'; /* the blank or newline; text cut short by a lack of memory has neither */
    }
}

static void add_mdoc_key(struct text *out, const struct key *key)
{
    struct text expects = TEXT_INIT;
    struct text lines = TEXT_INIT;
    text_add(&expects, "Expects ");
    key_expects(key, &expects);
    text_add_char(&expects, '.');
    add_mdoc(&lines, key->doc);
    add_mdoc(&lines, text_string(&expects));
    text_add(out, ".It Ic ");
    key_path(key, out);
    text_add_char(out, '\n');
    add_wrapped(out, text_string(&lines));
    text_addf(out, key->fallback != NULL ? "Default:\n.Li %s .\n" : "Default: %s.\n", default_of(key));
    out->failed = out->failed || expects.failed || lines.failed;
    text_release(&expects);
    text_release(&lines);
}

void keys_mdoc(struct text *out)
{
    for (size_t i = 0; i < key_count; i++) {
        add_mdoc_key(out, &key_table[i]);
    }
}
