/* Problem documents: see problem.h. */
#include "cli/problem.h"

#include "base/compiler.h"
#include "base/escape.h"
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 32

/* What is still to be read. */
struct rest {
    const char *at, *end;
};

void problem_plain(const char *data, size_t size, char out[PROBLEM_TEXT_MAX])
{
    size_t filled = 0, used;
    for (size_t i = 0; i < size && filled + ESCAPE_MAX < PROBLEM_TEXT_MAX; i += used) {
        filled += escape_json(data + i, size - i, out + filled, &used);
    }
    out[filled] = '\0';
}

int problem_is_type(const char *type)
{
    static const char name[] = "application/problem+json";
    size_t size = sizeof name - 1;
    return type != NULL && strncasecmp(type, name, size) == 0 && strchr("; \t", type[size]) != NULL;
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

static void skip_blanks(struct rest *rest)
{
    while (rest->at < rest->end && is_one_of(*rest->at, " \t\r\n")) {
        rest->at++;
    }
}

static bool take(struct rest *rest, char c)
{
    skip_blanks(rest);
    if (rest->at == rest->end || *rest->at != c) {
        return false;
    }
    rest->at++;
    return true;
}

/* The inside of a string, still with its escapes. */
static bool take_string(struct rest *rest, struct rest *ret)
{
    if (!take(rest, '"')) {
        return false;
    }
    ret->at = rest->at;
    while (rest->at < rest->end && *rest->at != '"') {
        rest->at += *rest->at == '\\' && rest->end - rest->at > 1 ? 2 : 1;
    }
    ret->end = rest->at;
    return take(rest, '"');
}

/* Any value. What is not a string is skipped by its brackets alone. */
static bool skip_value(struct rest *rest)
{
    struct rest string;
    unsigned depth = 0;
    do {
        skip_blanks(rest);
        if (rest->at == rest->end) {
            return false;
        }
        if (*rest->at == '"') {
            if (!take_string(rest, &string)) {
                return false;
            }
        } else if (*rest->at == '{' || *rest->at == '[') {
            depth++;
            rest->at++;
        } else if (*rest->at == '}' || *rest->at == ']') {
            if (depth-- == 0) {
                return false;
            }
            rest->at++;
        } else {
            rest->at++;
            bool bare = depth == 0;
            while (bare && rest->at < rest->end && !is_one_of(*rest->at, ",}] \t\r\n")) {
                rest->at++;
            }
        }
    } while (depth > 0 && depth <= DEPTH_MAX);
    return depth == 0;
}

/* The few escapes that are not their own character. \u stays as it is written. */
static char unescape(char c)
{
    return c == 'n' || c == 't' || c == 'r' || c == 'b' || c == 'f' ? ' ' : c;
}

static void copy_string(struct rest string, char out[PROBLEM_TEXT_MAX])
{
    char plain[PROBLEM_TEXT_MAX];
    size_t filled = 0;
    while (string.at < string.end && filled < sizeof plain) {
        bool escaped = *string.at == '\\' && string.end - string.at > 1 && string.at[1] != 'u';
        plain[filled++] = escaped ? unescape(string.at[1]) : *string.at;
        string.at += escaped ? 2 : 1;
    }
    problem_plain(plain, filled, out);
}

static char *place_of(struct problem *problem, struct rest name)
{
    static const struct {
        const char *name;
        size_t at;
    } members[] = {
        {"title", offsetof(struct problem, title)},
        {"detail", offsetof(struct problem, detail)},
        {"code", offsetof(struct problem, code)},
        {"advice", offsetof(struct problem, advice)},
    };
    size_t size = (size_t)(name.end - name.at);
    for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
        if (strlen(members[i].name) == size && memcmp(members[i].name, name.at, size) == 0) {
            return (char *)problem + members[i].at;
        }
    }
    return NULL;
}

static bool take_member(struct problem *problem, struct rest *rest)
{
    struct rest name, value;
    if (!take_string(rest, &name) || !take(rest, ':')) {
        return false;
    }
    char *place = place_of(problem, name);
    skip_blanks(rest);
    if (place == NULL || rest->at == rest->end || *rest->at != '"') {
        return skip_value(rest);
    }
    if (!take_string(rest, &value)) {
        return false;
    }
    copy_string(value, place);
    return true;
}

void problem_read(struct problem *problem, const char *data, size_t size)
{
    struct rest rest = {.at = data, .end = data + size};
    *problem = (struct problem){.title = ""};
    if (!take(&rest, '{')) {
        return;
    }
    while (take_member(problem, &rest) && take(&rest, ',')) {
    }
}
