/* The daemon's /status as the commands read it, and tables to show it in. */
#include "ctl/view.h"
#include "ctl/client.h"
#include <errno.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>

static int parse(const struct client_answer *answer, json_t **ret, struct error *err)
{
    json_error_t json_error;
    json_t *status = json_loadb(answer->body.data, answer->body.length, JSON_REJECT_DUPLICATES, &json_error);
    if (status == NULL) {
        return error_set(err, -EBADMSG, "the daemon's status is no JSON: %s", json_error.text);
    }
    uint64_t schema = view_u64(status, "schema");
    if (schema != VIEW_SCHEMA) {
        json_decref(status);
        return error_set(err, -EPROTO,
                         "the daemon's status has schema %" PRIu64
                         ", and this posternctl knows %d: use the posternctl of the daemon's version",
                         schema, VIEW_SCHEMA);
    }
    *ret = status;
    return 0;
}

int view_fetch(const struct ctl *ctl, json_t **ret, struct error *err)
{
    struct client_answer answer;
    int r = client_ask(ctl->socket, "GET", "/status", &answer, err);
    if (r == 0 && answer.status != 200) {
        r = error_set(
            err, -EPROTO,
            "%s answered %d when asked for /status: is that the admin socket, or the metrics listener?",
            ctl->socket, answer.status);
    }
    if (r == 0) {
        r = parse(&answer, ret, err);
    }
    text_release(&answer.body);
    return r;
}

const json_t *view_at(const json_t *value, const char *path)
{
    char key[64];
    while (value != NULL && *path != '\0') {
        size_t length = strcspn(path, "/");
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        path += length + (path[length] == '/');
        value = json_object_get(value, key);
    }
    return value;
}

uint64_t view_u64(const json_t *value, const char *path)
{
    const json_t *member = view_at(value, path);
    return json_is_integer(member) && json_integer_value(member) > 0 ? (uint64_t)json_integer_value(member)
                                                                     : 0;
}

const char *view_text(const json_t *value, const char *path)
{
    const char *text = json_string_value(view_at(value, path));
    return text != NULL ? text : "";
}

uint64_t view_sum(const json_t *object)
{
    uint64_t sum = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        sum += view_u64(value, "");
    }
    return sum;
}

const char *view_of_limit(uint64_t value, uint64_t limit, char buffer[VIEW_CELL_MAX])
{
    if (limit > 0) {
        snprintf(buffer, VIEW_CELL_MAX, "%" PRIu64 "/%" PRIu64, value, limit);
    } else {
        snprintf(buffer, VIEW_CELL_MAX, "%" PRIu64, value);
    }
    return buffer;
}

/* Tables. */

static void fail(struct view_table *table)
{
    scols_unref_table(table->scols);
    table->scols = NULL;
}

void view_table_init(struct view_table *table, const struct view_column *columns, size_t count)
{
    table->columns = count;
    table->scols = scols_new_table();
    for (size_t i = 0; i < count && table->scols != NULL; i++) {
        if (scols_table_new_column(table->scols, columns[i].name, 0, columns[i].right ? SCOLS_FL_RIGHT : 0) ==
            NULL) {
            fail(table);
        }
    }
}

void view_table_release(struct view_table *table)
{
    fail(table);
}

void view_table_add(struct view_table *table, const char *const *cells)
{
    if (table->scols == NULL) {
        return;
    }
    struct libscols_line *line = scols_table_new_line(table->scols, NULL);
    bool failed = line == NULL;
    for (size_t i = 0; i < table->columns && !failed; i++) {
        failed = scols_line_set_data(line, i, cells[i]) != 0;
    }
    if (failed) {
        fail(table);
    }
}

int view_table_print(struct view_table *table, FILE *out)
{
    char *text = NULL;
    int r = table->scols != NULL ? scols_print_table_to_string(table->scols, &text) : -ENOMEM;
    if (r == 0 && text != NULL) {
        fprintf(out, "%s%s", text, text[0] != '\0' && text[strlen(text) - 1] != '\n' ? "\n" : "");
    }
    free(text); /* also after a failure there may be some */
    return r == 0 ? 0 : -ENOMEM;
}
