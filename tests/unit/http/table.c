/* Tables of messages and verdicts. */
#include "table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void table_open(struct table *table, const char *path)
{
    *table = (struct table){.file = fopen(path, "r")};
    if (table->file == NULL) {
        fail_msg("cannot read %s", path);
    }
}

void table_close(struct table *table)
{
    fclose(table->file);
}

static int value_of(char c)
{
    const char *digits = "0123456789abcdef";
    const char *found = strchr(digits, c);
    assert_true(c != '\0' && found != NULL);
    return (int)(found - digits);
}

static void unescape(const char *text, struct text *out)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c != '\\') {
            text_add_char(out, *c);
            continue;
        }
        c++;
        const char *found = strchr("r\rn\nt\t\\\\", *c);
        if (*c == 'x') {
            text_add_char(out, (char)(16 * value_of(c[1]) + value_of(c[2])));
            c += 2;
        } else if (*c == '0') {
            text_add_char(out, '\0');
        } else {
            assert_true(*c != '\0' && found != NULL);
            text_add_char(out, found[1]);
        }
    }
    assert_false(out->failed);
}

/* Into table->line, without its newline; an empty one at the end. */
static bool read_line(struct table *table)
{
    if (fgets(table->line, sizeof table->line, table->file) == NULL) {
        table->line[0] = '\0';
        return false;
    }
    char *end = strchr(table->line, '\n');
    assert_non_null(end);
    *end = '\0';
    return true;
}

static bool find_head(struct table *table)
{
    while (table->line[0] == '\0' || table->line[0] == '#') {
        if (!read_line(table)) {
            return false;
        }
    }
    return true;
}

bool table_next(struct table *table, struct table_case *ret)
{
    *ret = (struct table_case){.name = ""};
    if (!find_head(table)) {
        return false;
    }
    int parts = sscanf(table->line, "%63[^:]: %63s after %u", ret->name, ret->verdict, &ret->whole);
    if (parts < 2) {
        fail_msg("not the head of a case: %s", table->line);
    }
    if (parts == 2) {
        ret->whole = strcmp(ret->verdict, "forwarded") == 0;
    }
    while (read_line(table) && table->line[0] == ' ') {
        bool wire = strncmp(table->line, "  => ", 5) == 0;
        unescape(table->line + (wire ? 5 : 2), wire ? &ret->wire : &ret->bytes);
    }
    return true;
}

void table_release(struct table_case *entry)
{
    text_release(&entry->bytes);
    text_release(&entry->wire);
}
