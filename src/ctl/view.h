/*
 * The daemon's /status as the commands read it, and tables to show it in. A member that is not there reads as
 * 0 or "": a newer daemon may have more, an older one less.
 */
#ifndef POSTERN_CTL_VIEW_H
#define POSTERN_CTL_VIEW_H

#include "base/compiler.h"
#include "base/error.h"
#include "ctl/ctl.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* The schema that this program knows; see daemon/status.h. */
#define VIEW_SCHEMA 1

/* Fetches the status. Returns 0 with a reference in *ret, or a negative errno value and the text of `err`. */
int view_fetch(const struct ctl *ctl, json_t **ret, struct error *err) MUST_CHECK;

/* Members by path: view_u64(status, "config/last_reload/time_s"). */
const json_t *view_at(const json_t *value, const char *path);
uint64_t view_u64(const json_t *value, const char *path);
const char *view_text(const json_t *value, const char *path);

/* "12/1024", or "12" where there is no limit. */
#define VIEW_CELL_MAX 64
const char *view_of_limit(uint64_t value, uint64_t limit, char buffer[VIEW_CELL_MAX]);

/* Of a list in an object: the sum of its numbers. */
uint64_t view_sum(const json_t *object);

struct libscols_table;

struct view_table {
    struct libscols_table *scols; /* owned; NULL after a failure */
    size_t columns;
};

struct view_column {
    const char *name;
    bool right; /* for numbers */
};

/* A table that could not be made, or filled, for want of memory prints nothing and says so. */
void view_table_init(struct view_table *table, const struct view_column *columns, size_t count);
void view_table_release(struct view_table *table);
void view_table_add(struct view_table *table, const char *const *cells);
int view_table_print(struct view_table *table, FILE *out); /* 0 or -ENOMEM */

#endif
