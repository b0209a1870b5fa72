/*
 * postern: what all its commands share. One file a command; the table of them is in cli.c.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage. What was asked for goes to `out`, everything else to `err`.
 */
#ifndef POSTERN_CLI_CLI_H
#define POSTERN_CLI_CLI_H

#include "base/compiler.h"
#include "base/error.h"
#include "net/addr.h"
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_DONE   0
#define CLI_FAILED 1
#define CLI_USAGE  2

#define CLI_ADDRESS "vsock://parent:7000"

struct cli_command;

struct cli {
    FILE *out;
    FILE *err;
    bool address_given;  /* by --connect */
    const char *address; /* where the daemon is: --connect, $POSTERN_ADDRESS, or the default */
    const struct cli_command *command;
    bool insecure; /* a software NSM is asked for: every line on `err` says so */
};

/* argv[0] is the command's name. Returns the exit code. */
typedef int (*cli_run)(struct cli *cli, int argc, char **argv);

struct cli_command {
    const char *name;
    const char *arguments; /* as the help shows them; "" */
    const char *summary;
    const char *options; /* a line for each of its own; "" */
    cli_run run;
    bool secrets; /* it handles some: its process is one for that, see secrecy.h */
};

int cli_attest(struct cli *cli, int argc, char **argv);
int cli_ping(struct cli *cli, int argc, char **argv);
int cli_pipe(struct cli *cli, int argc, char **argv);
int cli_send(struct cli *cli, int argc, char **argv);
int cli_listen(struct cli *cli, int argc, char **argv);
int cli_run_app(struct cli *cli, int argc, char **argv);
int cli_kms(struct cli *cli, int argc, char **argv);
int cli_kms_proxy(struct cli *cli, int argc, char **argv);
int cli_seal(struct cli *cli, int argc, char **argv);
int cli_open(struct cli *cli, int argc, char **argv);

/* The whole program but for its streams. */
int cli_main(int argc, char **argv, FILE *out, FILE *err);

/*
 * The options of a command: getopt_long() with those that all commands take added, and handled here.
 * `shorts` are the command's single letters as getopt() has them ("c:i:"), "" for none. `own` ends with a zeroed element, and its
 * values are positive. Returns the value of one of them (with optarg set), CLI_OPTIONS_END when only arguments are
 * left (from argv[optind]), or CLI_OPTIONS_STOP when the command is to return *ret_code at once. Options end at
 * the first argument if `shorts` begins with '+'.
 */
#define CLI_OPTIONS_END  (-1)
#define CLI_OPTIONS_STOP (-2)
#define CLI_OPTIONS_MAX  32
int cli_next_option(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *own,
                    int *ret_code);

/* Sets cli->insecure if --insecure-nsm is anywhere among the options, so that what is wrong with one before it is told with that word, too.
 * cli_next_option() does it by itself, when optind is 0. */
void cli_note_insecure(struct cli *cli, int argc, char **argv, const char *letters,
                       const struct option *options);

/* The daemon's address, or false when the command is to return *ret_code: it is not one. */
bool cli_address(const struct cli *cli, struct addr *ret, int *ret_code);

/* An option's value: a duration from `min` to `max` ms, or a number. False: said on `err`, and *ret_code is set. */
bool cli_duration(const struct cli *cli, const char *option, const char *text, uint64_t min, uint64_t max,
                  uint64_t *ret_ms, int *ret_code);
bool cli_number(const struct cli *cli, const char *option, const char *text, uint64_t min, uint64_t max,
                uint64_t *ret, int *ret_code);

/* The value of --insecure-nsm: the address of a software NSM, or `env` for $POSTERN_INSECURE_NSM. The environment alone never makes
 * a program believe in one; and once there is one, cli->insecure is set, if it was not before. */
bool cli_insecure_nsm(struct cli *cli, const char *text, const char **ret, int *ret_code);

/* Says on `err` what is wrong with the command line, and returns CLI_USAGE. */
int cli_usage_error(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);

/* Says on `err` what failed, and returns CLI_FAILED. */
int cli_failed(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);

/* What a line on `err` begins with. */
const char *cli_prefix(const struct cli *cli);

/* A line on `err`, written at once. */
void cli_say(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
