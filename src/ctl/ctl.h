/*
 * posternctl: what all its commands share. One file a command; the table of them is in ctl.c.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage. What was asked for goes to `out`, everything else to `err`.
 */
#ifndef POSTERN_CTL_CTL_H
#define POSTERN_CTL_CTL_H

#include "base/compiler.h"
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>

#define CTL_DONE   0
#define CTL_FAILED 1
#define CTL_USAGE  2

#define CTL_SOCKET "unix:///run/postern/admin.sock"
#define CTL_CONFIG "/etc/postern/postern.yaml"
#define CTL_UNIT   "postern.service"

struct ctl_command;

struct ctl {
    FILE *out;
    FILE *err;
    bool json;
    const char *socket; /* the admin socket's address: --socket, $POSTERN_ADMIN, or the default */
    bool socket_given;  /* not the default */
    const char *config;
    const struct ctl_command *command;
};

/* argv[0] is the command's name. Returns the exit code. */
typedef int (*ctl_run)(struct ctl *ctl, int argc, char **argv);

struct ctl_command {
    const char *name;
    const char *arguments; /* as the help shows them; "" */
    const char *summary;
    ctl_run run;
};

int ctl_status(struct ctl *ctl, int argc, char **argv);
int ctl_top(struct ctl *ctl, int argc, char **argv);
int ctl_reload(struct ctl *ctl, int argc, char **argv);
int ctl_drain(struct ctl *ctl, int argc, char **argv);
int ctl_spool(struct ctl *ctl, int argc, char **argv);
int ctl_explain(struct ctl *ctl, int argc, char **argv);
int ctl_doctor(struct ctl *ctl, int argc, char **argv);
int ctl_eif(struct ctl *ctl, int argc, char **argv);
int ctl_attest(struct ctl *ctl, int argc, char **argv);
int ctl_policy(struct ctl *ctl, int argc, char **argv);
int ctl_convert_allowlist(struct ctl *ctl, int argc, char **argv);

/* The whole program but for its streams. */
int ctl_main(int argc, char **argv, FILE *out, FILE *err);

/*
 * The options of a command: getopt_long() with those that all commands take added, and handled here. `own`
 * ends with a zeroed element and its values are positive. Returns the value of one of `own` (with optarg
 * set), CTL_OPTIONS_END when only arguments are left (from argv[optind]), or CTL_OPTIONS_STOP when the
 * command is to return *ret_code at once.
 */
#define CTL_OPTIONS_END  (-1)
#define CTL_OPTIONS_STOP (-2)
#define CTL_OPTIONS_MAX  16
int ctl_next_option(struct ctl *ctl, int argc, char **argv, const struct option *own, int *ret_code);

/* The same for a command that has no options of its own and takes no arguments: 0, or CTL_OPTIONS_STOP. */
int ctl_no_arguments(struct ctl *ctl, int argc, char **argv, int *ret_code);

/* Says on `err` what is wrong with the command line, and returns CTL_USAGE. */
int ctl_usage_error(const struct ctl *ctl, const char *format, ...) PRINTF_LIKE(2, 3);

/* Says on `err`, or as {"error": ...} on `out` under --json, what failed, and returns CTL_FAILED. */
int ctl_failed(const struct ctl *ctl, const char *text);

/* How long the daemon's words are without the newlines at their end. */
size_t ctl_line_length(const char *text);

/* Prints the daemon's word on a command as JSON: {DONE: accepted, KEY: text}, with an "error" if it was refused. */
int ctl_verdict(const struct ctl *ctl, const char *done, bool accepted, const char *key, const char *text);

struct json_t;

/* Writes the value, indented, to `out`, and drops the reference. NULL: memory ran out. Returns
 * CTL_DONE or CTL_FAILED. */
int ctl_print_json(const struct ctl *ctl, struct json_t *value);

#endif
