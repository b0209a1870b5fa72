/*
 * One table says which keys there are and how the value of each is read. A default is the text that would be written in
 * the file, and goes through the same reader, so that there is one truth about it.
 */
#include "init/settings.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { TEXT, LIST, SIZE, DURATION, WORD };

struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *initial;  /* NULL: none */
    uint64_t min, max;    /* SIZE in bytes, DURATION in ms */
    const char *words[4]; /* WORD: their order is the order of the enum */
    const char *pair;     /* LIST: an item has a name before a '='; what that looks like */
};

#define AT(field) offsetof(struct settings, field)
#define CHOICE              \
    {                       \
        "auto", "yes", "no" \
    }
#define DAY (UINT64_C(24) * 3600 * 1000)

static const struct key keys[] = {
    {.name = "connect", .kind = TEXT, .offset = AT(connect)},
    {.name = "listen", .kind = LIST, .offset = AT(listen), .pair = "LOCAL=ROUTE"},
    {.name = "env", .kind = LIST, .offset = AT(env), .pair = "NAME=VALUE"},
    {.name = "chdir", .kind = TEXT, .offset = AT(chdir)},
    {.name = "log", .kind = TEXT, .offset = AT(log)},
    {.name = "log_buffer",
     .kind = SIZE,
     .offset = AT(log_buffer),
     .initial = "256KiB",
     .min = 16384,
     .max = 1 << 26},
    {.name = "log_flush", .kind = DURATION, .offset = AT(log_flush), .initial = "2s", .max = 60000},
    {.name = "time", .kind = TEXT, .offset = AT(time)},
    {.name = "clock",
     .kind = WORD,
     .offset = AT(clock),
     .initial = "auto",
     .words = {"auto", "set", "watch", "off"}},
    {.name = "clock_interval",
     .kind = DURATION,
     .offset = AT(clock_interval),
     .initial = "5m",
     .min = 1000,
     .max = DAY},
    {.name = "clock_bound",
     .kind = DURATION,
     .offset = AT(clock_bound),
     .initial = "1m",
     .min = 1000,
     .max = DAY},
    {.name = "clock_wait", .kind = DURATION, .offset = AT(clock_wait), .initial = "5s", .max = 600000},
    {.name = "ptp", .kind = TEXT, .offset = AT(ptp), .initial = "/dev/ptp0"},
    {.name = "nsm", .kind = TEXT, .offset = AT(nsm), .initial = "/dev/nsm"},
    {.name = "entropy", .kind = WORD, .offset = AT(entropy), .initial = "auto", .words = CHOICE},
    {.name = "heartbeat", .kind = WORD, .offset = AT(heartbeat), .initial = "auto", .words = CHOICE},
    {.name = "loopback", .kind = WORD, .offset = AT(loopback), .initial = "auto", .words = CHOICE},
    {.name = "mounts", .kind = WORD, .offset = AT(mounts), .initial = "auto", .words = CHOICE},
    {.name = "module", .kind = LIST, .offset = AT(module)},
    {.name = "stop_timeout", .kind = DURATION, .offset = AT(stop_timeout), .initial = "5s", .max = 600000},
    {.name = "end",
     .kind = WORD,
     .offset = AT(end),
     .initial = "auto",
     .words = {"auto", "exit", "reboot", "poweroff"}},
};

_Static_assert(ARRAY_SIZE(keys) <= 64, "`given` has a bit for each");

/* Where a value stands, for telling what is wrong with it. */
struct value {
    const struct key *key;
    char *text;
    struct place place;
    struct diags *diags;
};

static void *field(struct settings *settings, const struct key *key)
{
    return (char *)settings + key->offset;
}

static void take_list(struct settings *settings, const struct value *value)
{
    struct settings_list *list = field(settings, value->key);
    const char *pair = value->key->pair;

    if (pair && (value->text[0] == '=' || !strchr(value->text, '='))) {
        diags_add(value->diags, value->place, "`%s` is `%s`, expected %s", value->key->name, value->text,
                  pair);
    } else if (list->count == SETTINGS_LIST_MAX) {
        diags_add(value->diags, value->place, "more than %d lines of `%s`", SETTINGS_LIST_MAX,
                  value->key->name);
    } else {
        list->items[list->count++] = value->text;
    }
}

static void take_number(struct settings *settings, const struct value *value)
{
    const struct key *key = value->key;
    bool size = key->kind == SIZE;
    char low[UNITS_TEXT_MAX], high[UNITS_TEXT_MAX];
    uint64_t number;
    int code = size ? units_parse_size(value->text, &number) : units_parse_duration(value->text, &number);

    if (code == -EINVAL) {
        diags_add(value->diags, value->place, "`%s` is `%s`, expected a %s", key->name, value->text,
                  size ? "size, such as 64KiB" : "duration, such as 5s or 1m30s");
    } else if (code < 0 || number < key->min || number > key->max) {
        diags_add(value->diags, value->place, "`%s` is `%s`, expected %s to %s", key->name, value->text,
                  size ? units_format_size(key->min, low) : units_format_duration(key->min, low),
                  size ? units_format_size(key->max, high) : units_format_duration(key->max, high));
    } else {
        *(uint64_t *)field(settings, key) = number;
    }
}

static void take_word(struct settings *settings, const struct value *value)
{
    const struct key *key = value->key;
    struct text all = TEXT_INIT;

    for (uint32_t i = 0; i < ARRAY_SIZE(key->words) && key->words[i]; i++) {
        if (!strcmp(value->text, key->words[i])) {
            *(uint32_t *)field(settings, key) = i;
            text_release(&all);
            return;
        }
        text_addf(&all, "%s%s", i > 0 ? ", " : "", key->words[i]);
    }
    diags_add(value->diags, value->place, "`%s` is `%s`, expected one of %s", key->name, value->text,
              text_string(&all));
    text_release(&all);
}

/* Whether the caller has nothing against a text. */
static bool is_good(const struct settings *settings, const struct value *value)
{
    struct error err = ERROR_INIT;

    if (settings->check && settings->check(value->key->name, value->text, &err) < 0) {
        diags_add(value->diags, value->place, "`%s`: %s", value->key->name, err.text);
        return false;
    }
    return true;
}

static void take(struct settings *settings, const struct value *value)
{
    bool text = value->key->kind == TEXT || value->key->kind == LIST;

    if (text && !is_good(settings, value)) {
        return;
    }
    switch (value->key->kind) {
    case TEXT:
        *(const char **)field(settings, value->key) = value->text;
        break;
    case LIST:
        take_list(settings, value);
        break;
    case SIZE:
    case DURATION:
        take_number(settings, value);
        break;
    case WORD:
        take_word(settings, value);
        break;
    }
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Without the blanks at both ends; what is behind is cut off in place. */
static char *trim(char *text)
{
    size_t length;

    while (is_blank(*text)) {
        text++;
    }
    for (length = strlen(text); length > 0 && is_blank(text[length - 1]); length--) {
    }
    text[length] = '\0';
    return text;
}

static void tell_unknown(const char *name, struct place place, struct diags *diags)
{
    const char *names[ARRAY_SIZE(keys)];
    const char *nearest;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        names[i] = keys[i].name;
    }
    nearest = diags_nearest(name, names, ARRAY_SIZE(keys));
    if (nearest) {
        diags_add(diags, place, "unknown key `%s`; did you mean `%s`?", name, nearest);
    } else {
        diags_add(diags, place, "unknown key `%s`; postern(1) has them all", name);
    }
}

static const struct key *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (!strcmp(keys[i].name, name)) {
            return &keys[i];
        }
    }
    return NULL;
}

/* Notes that the key came; false if it has already. */
static bool first(struct settings *settings, const struct key *key)
{
    uint64_t bit = UINT64_C(1) << (key - keys);
    bool came = settings->given & bit;

    settings->given |= bit;
    return !came || key->kind == LIST;
}

static bool printable(const char *text)
{
    for (; *text; text++) {
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

void settings_set(struct settings *settings, char *line, unsigned number, struct diags *diags)
{
    char *equals = strchr(line, '=');
    char *name = trim(line);
    struct value value = {.place = {.line = number, .column = (unsigned)(name - line) + 1}, .diags = diags};

    if (!equals || equals == name) {
        diags_add(diags, value.place, "expected `key = value`");
        return;
    }
    value.text = trim(equals + 1);
    *equals = '\0';
    name = trim(name);
    value.key = find(name);
    if (!value.key) {
        tell_unknown(name, value.place, diags);
        return;
    }
    if (!first(settings, value.key)) {
        diags_add(diags, value.place, "`%s` came already", name);
        return;
    }
    value.place.column = (unsigned)(value.text - line) + 1;
    if (!*value.text || !printable(value.text)) {
        diags_add(diags, value.place, "`%s` %s", name,
                  *value.text ? "has a control character in its value" : "has no value");
        return;
    }
    take(settings, &value);
}

void settings_again(struct settings *settings)
{
    settings->given = 0;
}

void settings_init(struct settings *settings, settings_check check)
{
    struct diags none;

    memset(settings, 0, sizeof *settings);
    settings->check = check;
    diags_init(&none, "");
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        /* Only TEXT is kept by its place, and what has a default is never written to. */
        struct value value = {.key = &keys[i], .text = (char *)keys[i].initial, .diags = &none};

        if (value.text) {
            take(settings, &value);
        }
    }
    diags_release(&none);
}

void settings_release(struct settings *settings)
{
    free(settings->text);
    memset(settings, 0, sizeof *settings);
}

/* The whole file, terminated. */
static int read_file(int fd, char **ret_text, size_t *ret_length, struct error *err)
{
    char *text = malloc(SETTINGS_FILE_MAX + 1);
    size_t length = 0;
    ssize_t got;

    if (!text) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    do {
        got = read(fd, text + length, SETTINGS_FILE_MAX + 1 - length);
        if (got > 0) {
            length += (size_t)got;
        }
    } while (got > 0 && length <= SETTINGS_FILE_MAX);
    if (got < 0) {
        int code = -errno;

        free(text);
        return error_errno(err, code, "cannot read it");
    }
    if (length > SETTINGS_FILE_MAX) {
        free(text);
        return error_set(err, -EFBIG, "it has more than %d bytes", SETTINGS_FILE_MAX);
    }
    text[length] = '\0';
    *ret_text = text;
    *ret_length = length;
    return 0;
}

static void parse(struct settings *settings, char *text, struct diags *diags)
{
    unsigned number = 0;
    char *line;

    while ((line = strsep(&text, "\n"))) {
        size_t blanks = strspn(line, " \t\r");

        number++;
        if (line[blanks] && line[blanks] != '#') {
            settings_set(settings, line, number, diags);
        }
    }
}

int settings_read(struct settings *settings, const char *path, struct diags *diags, struct error *err)
{
    size_t length = 0, before = diags->total;
    int fd, code;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return error_errno(err, -errno, "cannot open %s", path);
    }
    code = read_file(fd, &settings->text, &length, err);
    close(fd);
    if (code < 0) {
        error_prefix(err, "%s", path);
        return code;
    }
    if (strlen(settings->text) < length) {
        diags_add(diags, (struct place){0}, "it holds a NUL byte: this is no text");
    } else {
        parse(settings, settings->text, diags);
    }
    return diags->total > before ? -EINVAL : 0;
}

const char *settings_key(size_t index, const char **ret_default)
{
    if (index >= ARRAY_SIZE(keys)) {
        return NULL;
    }
    *ret_default = keys[index].initial;
    return keys[index].name;
}
