/* Reads an allowlist of AWS's vsock-proxy. What it allows is decided in allowlist_check.c. */
#include "config/allowlist.h"

#include "net/addr.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

/* One reading of one file. */
struct reading {
    struct allowlist *list;
    yaml_document_t *document; /* the first of the file */
    struct error *err;
};

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){(unsigned)mark.line + 1, (unsigned)mark.column + 1};
}

/* "WORDS: FILE:LINE:COL: WHY"; the place is left out where it is not known. */
static int refuse(const struct reading *reading, const char *words, yaml_mark_t mark, const char *why)
{
    struct place place = place_of(mark);
    return error_set(reading->err, -EINVAL, "%s: %s:%u:%u: %s", words, reading->list->file, place.line,
                     place.column, why);
}

static int refuse_size(const struct reading *reading, const char *what, int most)
{
    return error_set(reading->err, -E2BIG, "Could not read the file: %s: more than %d %s",
                     reading->list->file, most, what);
}

static bool scalar_is(const yaml_node_t *node, const char *text)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == strlen(text) &&
           memcmp(node->data.scalar.value, text, node->data.scalar.length) == 0;
}

/*
 * The value under `key`, or NULL. A file that gives the key twice would mean one thing to one reader and
 * another to the next, so *twice is set to where the second stands.
 */
static const yaml_node_t *member(const struct reading *reading, const yaml_node_t *mapping, const char *key,
                                 const yaml_node_t **twice)
{
    const yaml_node_t *found = NULL;
    const yaml_node_pair_t *end = mapping->data.mapping.pairs.top;
    for (const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start; pair < end; pair++) {
        const yaml_node_t *name = yaml_document_get_node(reading->document, pair->key);
        if (!scalar_is(name, key)) {
            continue;
        }
        if (found != NULL) {
            *twice = name;
            return NULL;
        }
        found = yaml_document_get_node(reading->document, pair->value);
    }
    return found;
}

static size_t count_digits(const char *text)
{
    return strspn(text, "0123456789");
}

/* Digits with at most one point among them, and an exponent: what YAML takes for a number. */
static bool is_decimal(const char *text)
{
    text += strspn(text, "+-") > 0;
    size_t digits = count_digits(text);
    text += digits;
    if (*text == '.') {
        text++;
        digits += count_digits(text);
        text += count_digits(text);
    }
    if (digits > 0 && (*text == 'e' || *text == 'E')) {
        text++;
        text += strspn(text, "+-") > 0;
        digits = count_digits(text);
        text += digits;
    }
    return digits > 0 && *text == '\0';
}

/* Hexadecimal and octal as YAML 1.2 writes them. */
static bool is_based(const char *text)
{
    size_t digits = 0;
    if (strncmp(text, "0x", 2) == 0) {
        digits = strspn(text + 2, "0123456789abcdefABCDEF");
    } else if (strncmp(text, "0o", 2) == 0) {
        digits = strspn(text + 2, "01234567");
    }
    return digits > 0 && text[2 + digits] == '\0';
}

/* Whether a scalar written without quotes is a null, a truth value or a number rather than a string. */
static bool is_other_type(const char *text)
{
    static const char *const words[] = {
        "",      "~",    "null", "true", "True", "TRUE", "false", "False",
        "FALSE", ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF",  "-.inf",
    };
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return is_decimal(text) || is_based(text);
}

/* NULL unless the node is a string that could be a host: no zero byte within, no longer than a name
 * can be. */
static const char *host_string(const yaml_node_t *node)
{
    if (node == NULL || node->type != YAML_SCALAR_NODE) {
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    if (node->data.scalar.length >= ADDR_HOST_MAX || strlen(text) != node->data.scalar.length) {
        return NULL;
    }
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && is_other_type(text) ? NULL : text;
}

/* 0 unless the node is a whole number, not in quotes, that is a TCP port. */
static uint16_t port_number(const yaml_node_t *node)
{
    if (node == NULL || node->type != YAML_SCALAR_NODE ||
        node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
        return 0;
    }
    const char *text = (const char *)node->data.scalar.value;
    char *end;
    unsigned long port;
    if (is_based(text)) {
        port = strtoul(text + 2, &end, text[1] == 'x' ? 16 : 8);
    } else {
        text += text[0] == '+';
        if (count_digits(text) == 0) {
            return 0;
        }
        port = strtoul(text, &end, 10);
    }
    /* A number too large for an unsigned long is ULONG_MAX, which is too large here as well. */
    return port <= UINT16_MAX && *end == '\0' ? (uint16_t)port : 0;
}

static int read_entry(const struct reading *reading, const yaml_node_t *node, struct allow_entry *entry)
{
    const yaml_node_t *address = NULL;
    const yaml_node_t *port = NULL;
    entry->place = place_of(node->start_mark);
    if (node->type == YAML_MAPPING_NODE) {
        if (node->data.mapping.pairs.top - node->data.mapping.pairs.start > ALLOWLIST_KEYS_MAX) {
            return refuse_size(reading, "keys in one entry", ALLOWLIST_KEYS_MAX);
        }
        const yaml_node_t *twice = NULL;
        address = member(reading, node, "address", &twice);
        port = member(reading, node, "port", &twice);
        if (twice != NULL) {
            return refuse(reading, "Bad yaml format", twice->start_mark, "the key stands here a second time");
        }
    }
    const char *host = host_string(address);
    if (host == NULL) {
        entry->defect = ALLOW_NO_ADDRESS;
        return 0;
    }
    entry->address = strdup(host);
    if (entry->address == NULL) {
        return error_errno(reading->err, -ENOMEM, "Could not read the file: %s", reading->list->file);
    }
    entry->port = port_number(port);
    entry->defect = entry->port > 0 ? ALLOW_SOUND : ALLOW_NO_PORT;
    return 0;
}

static int read_entries(const struct reading *reading, const yaml_node_t *sequence)
{
    struct allowlist *list = reading->list;
    const yaml_node_item_t *items = sequence->data.sequence.items.start;
    size_t count = (size_t)(sequence->data.sequence.items.top - items);
    if (count > ALLOWLIST_ENTRIES_MAX) {
        return error_set(reading->err, -E2BIG,
                         "Could not read the file: %s: %zu entries, and at most %d are read", list->file,
                         count, ALLOWLIST_ENTRIES_MAX);
    }
    list->entries = calloc(count > 0 ? count : 1, sizeof *list->entries);
    if (list->entries == NULL) {
        return error_errno(reading->err, -ENOMEM, "Could not read the file: %s", list->file);
    }
    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *node = yaml_document_get_node(reading->document, items[i]);
        list->count++;
        int rc = read_entry(reading, node, &list->entries[i]);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int read_document(const struct reading *reading)
{
    static const char no_list[] = "No allowlist field";
    static const char form[] = "expected `allowlist:` with a list of `- {address: HOST, port: PORT}`";
    yaml_document_t *document = reading->document;
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (root == NULL) {
        return error_set(reading->err, -EINVAL, "%s: %s: the file is empty; %s", no_list, reading->list->file,
                         form);
    }
    if (root->type != YAML_MAPPING_NODE) {
        return refuse(reading, no_list, root->start_mark, form);
    }
    const yaml_node_t *twice = NULL;
    const yaml_node_t *list = member(reading, root, "allowlist", &twice);
    if (twice != NULL) {
        return refuse(reading, "Bad yaml format", twice->start_mark, "the key stands here a second time");
    }
    if (list == NULL || list->type != YAML_SEQUENCE_NODE) {
        return refuse(reading, no_list, list == NULL ? root->start_mark : list->start_mark, form);
    }
    return read_entries(reading, list);
}

static int refuse_yaml(const struct reading *reading, const yaml_parser_t *parser)
{
    /* libyaml always names the problem, but for a lack of memory. */
    if (parser->problem == NULL) {
        return error_errno(reading->err, -ENOMEM, "Could not read the file: %s", reading->list->file);
    }
    if (parser->error == YAML_READER_ERROR) {
        return error_set(reading->err, -EINVAL, "Bad yaml format: %s: byte %zu: %s", reading->list->file,
                         parser->problem_offset, parser->problem);
    }
    return refuse(reading, "Bad yaml format", parser->problem_mark, parser->problem);
}

/* What has been seen of the file so far. */
struct survey {
    int depth;
    int anchors;
    bool ended;
};

static void survey_event(struct survey *survey, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SEQUENCE_START_EVENT:
        survey->depth++;
        survey->anchors += event->data.sequence_start.anchor != NULL;
        break;
    case YAML_MAPPING_START_EVENT:
        survey->depth++;
        survey->anchors += event->data.mapping_start.anchor != NULL;
        break;
    case YAML_SCALAR_EVENT:
        survey->anchors += event->data.scalar.anchor != NULL;
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        survey->depth--;
        break;
    default:
        survey->ended = event->type == YAML_STREAM_END_EVENT;
        break;
    }
}

/*
 * Goes through the whole file before anything is built of it: only the first document counts, but a file
 * that is broken further down is broken, and one that would be costly to build is refused.
 */
static int survey_stream(struct reading *reading, yaml_parser_t *parser)
{
    struct survey survey = {.depth = 0};
    while (!survey.ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            return refuse_yaml(reading, parser);
        }
        survey_event(&survey, &event);
        yaml_event_delete(&event);
        if (survey.depth > ALLOWLIST_DEPTH_MAX) {
            return refuse_size(reading, "levels", ALLOWLIST_DEPTH_MAX);
        }
        if (survey.anchors > ALLOWLIST_ANCHORS_MAX) {
            return refuse_size(reading, "anchors (&)", ALLOWLIST_ANCHORS_MAX);
        }
    }
    return 0;
}

static int build_document(struct reading *reading, yaml_parser_t *parser)
{
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document)) {
        return refuse_yaml(reading, parser);
    }
    reading->document = &document;
    int rc = read_document(reading);
    reading->document = NULL;
    yaml_document_delete(&document);
    return rc;
}

/* One pass of `step` over the text, with a parser of its own. */
static int parse_with(struct reading *reading, const char *data, size_t size,
                      int (*step)(struct reading *reading, yaml_parser_t *parser))
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return error_errno(reading->err, -ENOMEM, "Could not read the file: %s", reading->list->file);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)data, size);
    int rc = step(reading, &parser);
    yaml_parser_delete(&parser);
    return rc;
}

/* Whether what begins there ends a line to libyaml alone: U+0085, U+2028, U+2029. */
static bool is_odd_line_end(const char *data, size_t size)
{
    static const char *const ends[] = {"\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        size_t length = strlen(ends[i]);
        if (length <= size && memcmp(data, ends[i], length) == 0) {
            return true;
        }
    }
    return false;
}

/* The tool whose file this is takes what follows for more of the same line, as do people: a comment could hide an entry. */
static int check_line_ends(const struct reading *reading, const char *data, size_t size)
{
    yaml_mark_t mark = {.line = 0};
    for (size_t i = 0; i < size; i++) {
        if (is_odd_line_end(data + i, size - i)) {
            return refuse(reading, "Bad yaml format", mark,
                          "a line break that is none to other readers (U+0085, U+2028 or U+2029): remove it");
        }
        mark.column += ((unsigned char)data[i] & 0xc0) != 0x80;
        if (data[i] == '\n') {
            mark.line++;
            mark.column = 0;
        }
    }
    return 0;
}

/* Lines that are directives. A file needs none. */
static int count_directives(const char *data, size_t size)
{
    int count = 0;
    for (size_t i = 0; i < size; i++) {
        count += data[i] == '%' && (i == 0 || data[i - 1] == '\n' || data[i - 1] == '\r');
    }
    return count;
}

static int read_data(struct allowlist *list, const char *data, size_t size, struct error *err)
{
    struct reading reading = {.list = list, .err = err};
    if (size > ALLOWLIST_FILE_MAX) {
        return error_set(err, -EFBIG, "Could not read the file: %s: it is larger than %d bytes", list->file,
                         ALLOWLIST_FILE_MAX);
    }
    if (count_directives(data, size) > ALLOWLIST_DIRECTIVES_MAX) {
        return refuse_size(&reading, "directives (%)", ALLOWLIST_DIRECTIVES_MAX);
    }
    int rc = check_line_ends(&reading, data, size);
    rc = rc == 0 ? parse_with(&reading, data, size, survey_stream) : rc;
    return rc != 0 ? rc : parse_with(&reading, data, size, build_document);
}

int allowlist_parse(const char *file, const char *data, size_t size, struct allowlist *ret, struct error *err)
{
    *ret = (struct allowlist){.file = strdup(file)};
    if (ret->file == NULL) {
        return error_errno(err, -ENOMEM, "Could not read the file: %s", file);
    }
    int rc = read_data(ret, data, size, err);
    if (rc != 0) {
        allowlist_release(ret);
    }
    return rc;
}

/* Fills `buffer` up to the end of the file or of the buffer. Returns the bytes, or a negative errno value. */
static ssize_t read_whole(int fd, char *buffer, size_t capacity)
{
    size_t length = 0;
    while (length < capacity) {
        ssize_t n = read(fd, buffer + length, capacity - length);
        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        length += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)length;
}

/* What AWS's tool says, and on top of it why, and what to do. */
static int unreadable(struct error *err, const char *what, const char *file, int why)
{
    const char *hint = "";
    if (why == -ENOENT || why == -ENOTDIR) {
        hint = "; name the allowlist that you have, or write one there: see vsock-proxy(8)";
    } else if (why == -EACCES) {
        hint = "; let the user who runs this read it";
    } else if (why == -EISDIR) {
        hint = "; name the allowlist in it";
    }
    return error_set(err, why, "%s: %s: %s%s", what, file, error_words(why), hint);
}

int allowlist_load(const char *file, struct allowlist *ret, struct error *err)
{
    *ret = (struct allowlist){.file = NULL};
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return unreadable(err, "Could not open the file", file, -errno);
    }
    /* One byte more than is accepted, so that a file that is too large shows. */
    size_t capacity = ALLOWLIST_FILE_MAX + 1;
    char *data = malloc(capacity);
    ssize_t size = data == NULL ? -ENOMEM : read_whole(fd, data, capacity);
    close(fd);
    int rc = size < 0 ? unreadable(err, "Could not read the file", file, (int)size)
                      : allowlist_parse(file, data, (size_t)size, ret, err);
    free(data);
    return rc;
}

void allowlist_release(struct allowlist *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->entries[i].address);
    }
    free(list->entries);
    free(list->file);
    *list = (struct allowlist){.file = NULL};
}
