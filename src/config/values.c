/* Single values: the kinds that the key table knows, and the small special ones. */
#include "base/units.h"
#include "config/build.h"
#include "config/utf8.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DNS_SERVERS_MAX 8

/* Into a field of any width that the table names. */
static void store(const struct key *key, void *object, uint64_t value)
{
    unsigned char *field = (unsigned char *)object + key->offset;
    uint8_t narrow = (uint8_t)value;
    uint16_t half = (uint16_t)value;
    uint32_t word = (uint32_t)value;
    const void *from = key->width == sizeof narrow ? (const void *)&narrow
                       : key->width == sizeof half ? (const void *)&half
                       : key->width == sizeof word ? (const void *)&word
                                                   : (const void *)&value;
    memcpy(field, from, key->width);
}

static bool in_range(const struct key *key, uint64_t value)
{
    return value >= key->min && value <= key->max;
}

static bool all_digits(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789")] == '\0';
}

/* `16`, and neither "16" nor 016: readers of YAML take the one for a text and the other for octal. */
static bool is_number(const struct key *key, const struct node *value, uint64_t *ret)
{
    if (value->kind != NODE_TEXT || value->quoted || (value->text[0] == '0' && value->text[1] != '\0')) {
        return false;
    }
    return units_parse_u64(value->text, key->max, ret) == 0 && in_range(key, *ret);
}

static void tell_quotes(struct build *build, const struct key *key, const struct node *value)
{
    build_tell(build, value->place, key->name, "\"%.*s\" in quotes is a text: remove the quotes",
               utf8_clip(value->text), value->text);
}

static void set_number(struct build *build, const struct key *key, const struct node *value, void *object)
{
    uint64_t number = 0;
    if (key->word != NULL && value->kind == NODE_TEXT && strcmp(value->text, key->word) == 0) {
        store(key, object, 0);
    } else if (is_number(key, value, &number)) {
        store(key, object, number);
    } else if (value->kind == NODE_TEXT && value->quoted && all_digits(value->text)) {
        tell_quotes(build, key, value);
    } else {
        build_expected(build, key, value, NULL);
    }
}

static bool begins_as_number(const char *text)
{
    text += text[0] == '.';
    return text[0] >= '0' && text[0] <= '9';
}

/* Not the range alone, in which 10GB would be. */
static void expect_units(struct build *build, const struct key *key, const struct node *value)
{
    struct text what = TEXT_INIT;
    key_expects(key, &what);
    text_add(&what, key->kind == KEY_DURATION ? ", in whole ms, s, m, h or d"
                                              : ", in whole B, KiB, MiB, GiB or TiB");
    build->no_memory = build->no_memory || what.failed;
    build_expected_what(build, key, value, text_string(&what), NULL);
    text_release(&what);
}

/* A duration or a size. A bare number is the mistake everybody makes once. */
static void set_measure(struct build *build, const struct key *key, const struct node *value, void *object)
{
    bool duration = key->kind == KEY_DURATION;
    uint64_t measure = 0;
    if (key->word != NULL && value->kind == NODE_TEXT && strcmp(value->text, key->word) == 0) {
        store(key, object, 0);
        return;
    }
    int r = value->kind != NODE_TEXT ? -EINVAL
            : duration               ? units_parse_duration(value->text, &measure)
                                     : units_parse_size(value->text, &measure);
    if (r == 0 && in_range(key, measure)) {
        store(key, object, measure);
    } else if (r == -EINVAL && begins_as_number(value->text) && !all_digits(value->text)) {
        expect_units(build, key, value);
    } else if (r != 0 && value->kind == NODE_TEXT && all_digits(value->text)) {
        build_tell(build, value->place, key->name, "a %s needs a unit, e.g. %s, and %.*s has none",
                   duration ? "duration" : "size", duration ? "5s" : "16KiB", utf8_clip(value->text),
                   value->text);
    } else {
        build_expected(build, key, value, NULL);
    }
}

static void set_switch(struct build *build, const struct key *key, const struct node *value, void *object)
{
    bool is_true = strcmp(value->text, "true") == 0;
    if (value->kind != NODE_TEXT || (!is_true && strcmp(value->text, "false") != 0)) {
        build_expected(build, key, value, NULL);
    } else if (value->quoted) {
        tell_quotes(build, key, value);
    } else {
        store(key, object, is_true);
    }
}

/* Its index; the number of words if it is none of them. */
static size_t find_choice(const struct key *key, const struct node *value)
{
    size_t i = 0;
    while (key->choices[i] != NULL &&
           (value->kind != NODE_TEXT || strcmp(value->text, key->choices[i]) != 0)) {
        i++;
    }
    return i;
}

bool value_is_choice(const struct key *key, const struct node *value)
{
    return key->choices[find_choice(key, value)] != NULL;
}

static void set_choice(struct build *build, const struct key *key, const struct node *value, void *object)
{
    size_t found = find_choice(key, value);
    if (key->choices[found] != NULL) {
        store(key, object, found);
    } else {
        build_expected(build, key, value, diags_nearest(value->text, key->choices, found));
    }
}

void value_set(struct build *build, const struct key *key, const struct node *value, void *object)
{
    if (key->in_forward) {
        object = ((struct config_route *)object)->forward;
    }
    if (value->kind == NODE_BAD || object == NULL) {
        return; /* told, or a key of forward routes in another, which route_check() tells */
    }
    switch (key->kind) {
    case KEY_NUMBER:
        set_number(build, key, value, object);
        break;
    case KEY_DURATION:
    case KEY_SIZE:
        set_measure(build, key, value, object);
        break;
    case KEY_SWITCH:
        set_switch(build, key, value, object);
        break;
    case KEY_CHOICE:
        set_choice(build, key, value, object);
        break;
    case KEY_MAP:
        build_map(build, key, value, object);
        break;
    case KEY_SPECIAL:
        key->set(build, key, value, object);
        break;
    }
}

/* version, type and protocol decide whether the keys around them are read at all. */
void set_checked_before(struct build *build, const struct key *key, const struct node *value, void *object)
{
    (void)build;
    (void)key;
    (void)value;
    (void)object;
}

static const char *owner_of_cid(const struct node *value)
{
    static const char *const owners[] = {"the hypervisor's", "that of this machine itself", "the host's",
                                         "the parent's"};
    uint64_t cid = 0;
    if (value->kind != NODE_TEXT || value->quoted || units_parse_u64(value->text, UINT32_MAX, &cid) != 0) {
        return NULL;
    }
    return cid < ARRAY_SIZE(owners) ? owners[cid] : cid == UINT32_MAX ? "no CID but means any" : NULL;
}

void set_cid(struct build *build, const struct key *key, const struct node *value, void *object)
{
    if (value->kind == NODE_TEXT && strcmp(value->text, "local") == 0) {
        ((struct config_enclave *)object)->cid = ADDR_CID_LOCAL;
        return;
    }
    const char *owner = owner_of_cid(value);
    if (owner != NULL) {
        build_tell(build, value->place, key->name,
                   "CID %s is %s: an enclave has a number from 4 to 4294967294", value->text, owner);
        return;
    }
    set_number(build, key, value, object);
}

/* "0660" or 0660: octal either way, since nobody writes permissions in anything else. */
void set_mode(struct build *build, const struct key *key, const struct node *value, void *object)
{
    const char *digits = value->text;
    size_t length = strspn(digits, "01234567");
    unsigned mode = 0;
    for (const char *digit = digits; digit < digits + length && mode <= 0777; digit++) {
        mode = mode * 8 + (unsigned)(*digit - '0');
    }
    if (value->kind != NODE_TEXT || length < 3 || digits[length] != '\0' || mode > 0777) {
        build_expected(build, key, value, NULL);
        return;
    }
    store(key, object, mode);
}

void set_family(struct build *build, const struct key *key, const struct node *value, void *object)
{
    static const char *const words[] = {"any", "ipv4", "ipv6"};
    static const int families[] = {0, AF_INET, AF_INET6};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (value->kind == NODE_TEXT && strcmp(value->text, words[i]) == 0) {
            ((struct config_route *)object)->family = families[i];
            return;
        }
    }
    build_expected(build, key, value, diags_nearest(value->text, words, ARRAY_SIZE(words)));
}

static bool is_none(const struct node *value)
{
    return value->kind == NODE_TEXT && strcmp(value->text, "none") == 0;
}

/* `off`, 9464 or a bare name: no address at all, of which the kinds would be told. */
static bool is_bare_word(const struct node *value)
{
    return value->kind == NODE_TEXT && value->text[0] != '/' && strchr(value->text, ':') == NULL;
}

/* It may change things, and only a socket file says by its permissions who may speak to it. */
void set_admin(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config *config = object;
    if (is_none(value)) {
        config->admin = (struct addr){.kind = ADDR_NONE};
        return;
    }
    if (is_bare_word(value)) {
        build_expected(build, key, value, NULL);
        return;
    }
    if (!listen_address(build, key, value, &config->admin)) {
        return;
    }
    if (config->admin.kind != ADDR_UNIX || config->admin.host[0] == '@') {
        build_tell(build, value->place, key->name,
                   "the admin socket may change things, so it is kept to a file's permissions: expected %s",
                   key->expects);
    }
}

void set_metrics(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config *config = object;
    if (is_none(value)) {
        config->metrics = (struct addr){.kind = ADDR_NONE};
        return;
    }
    if (is_bare_word(value)) {
        build_expected(build, key, value, NULL);
        return;
    }
    (void)listen_address(build, key, value, &config->metrics);
}

/* A relative path would mean another file to `posternd --check` than to the service. */
void set_path(struct build *build, const struct key *key, const struct node *value, void *object)
{
    if (value->kind != NODE_TEXT || value->text[0] != '/') {
        build_expected(build, key, value, NULL);
        return;
    }
    const char *path = build_strdup(build, value->text);
    memcpy((unsigned char *)object + key->offset, &path, sizeof path);
}

/* ADDRESS or ADDRESS:PORT, in the form that c-ares takes: IPv6 in brackets. */
static bool dns_server(const char *text, char out[ADDR_TEXT_MAX])
{
    static const struct {
        const char *before, *after;
    } forms[] = {{"tcp://", ""}, {"tcp://", ":53"}, {"tcp://[", "]:53"}};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        char address[ADDR_TEXT_MAX];
        struct addr addr;
        int length = snprintf(address, sizeof address, "%s%s%s", forms[i].before, text, forms[i].after);
        if (length < (int)sizeof address && addr_parse(address, &addr, NULL) == 0 && addr.literal) {
            addr_format(&addr, out);
            memmove(out, out + strlen("tcp://"), strlen(out) - strlen("tcp://") + 1);
            return true;
        }
    }
    return false;
}

static bool add_dns_server(struct build *build, const struct key *key, const struct node *item,
                           struct text *list)
{
    char server[ADDR_TEXT_MAX];
    if (item->kind != NODE_TEXT) {
        build_expected_what(build, key, item, "the IP address of a name server", NULL);
        return false;
    }
    if (!dns_server(item->text, server)) {
        build_tell(
            build, item->place, key->name,
            "\"%.*s\" is not the IP address of a name server: expected e.g. 10.0.0.2 or \"[fd00::2]:5353\"",
            utf8_clip(item->text), item->text);
        return false;
    }
    text_addf(list, "%s%s", list->length > 0 ? "," : "", server);
    return true;
}

void set_dns_servers(struct build *build, const struct key *key, const struct node *value, void *object)
{
    struct config_dns *dns = object;
    if (value->kind == NODE_TEXT && strcmp(value->text, "system") == 0) {
        return;
    }
    if (value->kind != NODE_LIST || value->count == 0 || value->count > DNS_SERVERS_MAX) {
        build_expected(build, key, value, NULL);
        return;
    }
    struct text list = TEXT_INIT;
    bool good = true;
    for (const struct node *item = value->first; item != NULL; item = item->next) {
        good = add_dns_server(build, key, item, &list) && good;
    }
    if (list.failed) {
        build->no_memory = true;
    } else if (good) {
        dns->servers = build_strdup(build, text_string(&list));
    }
    text_release(&list);
}
