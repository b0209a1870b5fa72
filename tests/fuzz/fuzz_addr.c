/*
 * Any text as an address. What is taken must come back the same; what is refused must be told in one
 * clean line, and what that line suggests must be taken.
 */
#include "base/escape.h"
#include "net/addr.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static int parse(const char *text, bool listening, struct addr *ret, struct error *err)
{
    return listening ? addr_parse_listen(text, ret, err) : addr_parse(text, ret, err);
}

static void check_taken(const struct addr *addr, bool listening)
{
    char once[ADDR_TEXT_MAX], twice[ADDR_TEXT_MAX];
    struct sockaddr_any sockaddr;
    struct addr again;

    require(parse(addr_format(addr, once), listening, &again, NULL) == 0);
    require(addr_equal(addr, &again));
    require(strcmp(once, addr_format(&again, twice)) == 0);

    bool look_up = addr->cid_by_name || (addr->kind == ADDR_TCP && !addr->literal);
    require(look_up == (addr_to_sockaddr(addr, true, &sockaddr) != 0));
    if (!look_up) {
        require(strlen(sockaddr_format(&sockaddr, once)) > 0);
    }
    require(addr->kind != ADDR_TCP || addr->literal || addr_is_hostname(addr->host));
}

static void check_refused(const char *text, bool listening, const struct error *err)
{
    const char *repeated = escape_user(text);
    size_t length = strlen(repeated) + (repeated != text ? strlen("...") : 0);
    size_t shown = length > 120 ? 120 + 5 : length + 2; /* in quotes, or cut */
    struct addr addr;

    require(strlen(err->text) > shown && strlen(err->text) + 1 < sizeof(err->text));
    for (const char *c = err->text; *c != '\0'; c++) {
        require(*c >= 0x20 && *c < 0x7f);
    }
    const char *suggestion = strstr(err->text + shown, ", such as ");
    if (suggestion != NULL) {
        require(parse(suggestion + strlen(", such as "), listening, &addr, NULL) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    for (int listening = 0; listening <= 1; listening++) {
        struct addr addr;
        struct error err = ERROR_INIT;
        if (parse(text, listening, &addr, &err) == 0) {
            check_taken(&addr, listening);
        } else {
            check_refused(text, listening, &err);
        }
    }
    free(text);
    return 0;
}
