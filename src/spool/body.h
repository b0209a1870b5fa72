/*
 * Body files, through SQLite's VFS: one seam for all that is durable, so that tests can take the power away from
 * both at the same instant. Used by the files thread alone.
 */
#ifndef POSTERN_SPOOL_BODY_H
#define POSTERN_SPOOL_BODY_H

#include "base/compiler.h"
#include "base/error.h"
#include "spool/place.h"
#include <stddef.h>
#include <stdint.h>

struct sqlite3_vfs;
struct body;

/* All return 0 or a negative errno value. A new file is 0600 and must not be there. */
int body_create(const struct place *place, struct sqlite3_vfs *vfs, uint64_t file, struct body **ret,
                struct error *err) MUST_CHECK;
int body_open(const struct place *place, struct sqlite3_vfs *vfs, uint64_t file, struct body **ret,
              struct error *err) MUST_CHECK;
int body_write(struct body *body, const void *data, size_t size, uint64_t at, struct error *err) MUST_CHECK;

/* Reads exactly that much: a shorter file is a damaged one, -EBADMSG. */
int body_read(struct body *body, void *data, size_t size, uint64_t at, struct error *err) MUST_CHECK;
int body_sync(struct body *body, struct error *err) MUST_CHECK;
void body_close(struct body *body); /* NULL is nothing */

/* A file that is not there is removed already. Neither this nor body_create() lasts before body_sync_names(). */
int body_remove(const struct place *place, struct sqlite3_vfs *vfs, uint64_t file,
                struct error *err) MUST_CHECK;
int body_sync_names(const struct place *place, struct error *err) MUST_CHECK;

#endif
