/*
 * What `postern run` is told to do: lines of `key = value`, from a file or from --set.
 *
 *     # how to get out
 *     connect = vsock://parent:7000
 *     listen = tcp://127.0.0.1:443=kms
 *
 * Blank lines and lines that begin with # are passed over; a value goes to the end of its line, without the blanks around
 * it, and has no quotes or escapes. Keys may come once, but for the lists. All mistakes are told in one run, each with its
 * place. docs/client.md describes every key, and a test holds it to the table in settings.c.
 *
 * Lifetimes: texts point into what was parsed. settings_read() keeps the file's text in the settings; what is given to
 * settings_set() must outlive them.
 */
#ifndef POSTERN_INIT_SETTINGS_H
#define POSTERN_INIT_SETTINGS_H

#include "base/compiler.h"
#include "base/diag.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SETTINGS_LIST_MAX 64
#define SETTINGS_FILE_MAX 65536

/* AUTO is decided by what this process is: see docs/client.md, "run". */
enum settings_choice { SETTINGS_AUTO, SETTINGS_YES, SETTINGS_NO };

enum settings_clock { SETTINGS_CLOCK_AUTO, SETTINGS_CLOCK_SET, SETTINGS_CLOCK_WATCH, SETTINGS_CLOCK_OFF };

/* What the end of the app leads to. */
enum settings_end { SETTINGS_END_AUTO, SETTINGS_END_EXIT, SETTINGS_END_REBOOT, SETTINGS_END_POWEROFF };

/* Asked about texts that only the caller can judge (addresses, routes): returns 0, or a negative errno value with a text. */
typedef int (*settings_check)(const char *key, const char *value, struct error *err);

struct settings_list {
    const char *items[SETTINGS_LIST_MAX];
    size_t count;
};

struct settings {
    const char *connect;         /* NULL: as for every command */
    struct settings_list listen; /* LOCAL=ROUTE */
    struct settings_list env;    /* NAME=VALUE */
    struct settings_list module; /* paths of kernel modules */
    const char *chdir;           /* NULL: stays */
    const char *log;             /* route; NULL: the app has our own standard output and error */
    uint64_t log_buffer;         /* bytes */
    uint64_t log_flush;          /* ms */
    const char *time;            /* route; NULL: the parent is not asked */
    const char *ptp;             /* device; "none" */
    const char *nsm;             /* device; "none" */
    uint32_t clock;              /* enum settings_clock */
    uint64_t clock_interval;     /* ms */
    uint64_t clock_bound;        /* ms */
    uint64_t clock_wait;         /* ms */
    uint32_t mounts, loopback, entropy, heartbeat; /* enum settings_choice */
    uint64_t stop_timeout;                         /* ms */
    uint32_t end;                                  /* enum settings_end */

    settings_check check; /* NULL: none */
    uint64_t given;       /* a bit for each key that came */
    char *text;           /* owned: of the file */
};

/* The defaults. */
void settings_init(struct settings *settings, settings_check check);
void settings_release(struct settings *settings);

/* Reads a file on top of what is there. 0; -EINVAL when mistakes were added to `diags`; else the errno value and text of
 * what kept the file from being read. */
int settings_read(struct settings *settings, const char *path, struct diags *diags,
                  struct error *err) MUST_CHECK;

/* One `key = value`, which is changed and pointed into. Mistakes go to `diags`, with this line. A key that is
 * no list takes the place of what a file said. */
void settings_set(struct settings *settings, char *line, unsigned number, struct diags *diags);

/* A new turn: keys that came may come once more, to take the place of what they said. */
void settings_again(struct settings *settings);

/* Every key with its default, for the tests of the documentation; NULL past the last. */
const char *settings_key(size_t index, const char **ret_default);

#endif
