/*
 * postern send: what its files share. send.c reads the command line, send_body.c is where the body comes from,
 * send_exchange.c carries the request and its answer, send_words.c says how it ended.
 */
#ifndef POSTERN_CLI_SEND_H
#define POSTERN_CLI_SEND_H

#include "cli/cli.h"
#include "cli/loop.h"
#include "cli/progress.h"
#include "cli/stdio_end.h"
#include "postern/postern.h"

#define CLI_HTTP_ERROR 22 /* as curl --fail has it */

#define SEND_HEADERS_MAX 100
#define SEND_BUFFER      65536u
#define SEND_PROBLEM_MAX 4096u /* of an answer's body, to be told */

enum send_kind { SEND_NOTHING, SEND_TEXT, SEND_FILE };

struct send_body {
    enum send_kind kind;
    const char *text; /* SEND_TEXT: what is left of it */
    const char *name; /* SEND_FILE, for people */
    struct stdio_end end;
    int fd;        /* SEND_FILE: owned, or 0: standard input */
    uint64_t size; /* POSTERN_BODY_UNKNOWN */
    uint64_t left; /* of it */
};

/* What --data says: text, "-", "@-" or "@FILE"; NULL: nothing. */
int send_body_open(struct send_body *body, const char *data, struct error *err) MUST_CHECK;
void send_body_close(struct send_body *body);

/* As read(): 0 at the end, -EAGAIN: not now. No more than was announced. */
ssize_t send_body_read(struct send_body *body, void *buffer, size_t size) MUST_CHECK;

struct send {
    const struct cli *cli;
    const char *route;
    struct postern_request_options request_options;
    struct postern_header headers[SEND_HEADERS_MAX];
    bool include, quiet;
    uint64_t timeout_ms, idle_ms; /* 0: none */
    struct send_body body;

    struct cli_loop loop;
    struct postern *door;
    struct postern_request *request;
    struct cli_watch door_watch, in_watch, out_watch;
    struct cli_timer door_timer, idle_timer, whole_timer, progress_timer;
    struct cli_task step;
    struct stdio_end out;
    struct progress progress;
    bool connected, leaving;
    int signal; /* that came; 0: none */
    int code;

    int status;                      /* of the answer; 0: not yet */
    uint64_t sent, moved;            /* bytes of the body; and in both directions */
    uint64_t moved_seen;             /* when it was last looked at */
    bool in_over, sent_all, stopped; /* the body: read to its end; taken whole; not wanted whole */
    bool answer_over;
    size_t up_at, up_end, down_at, down_end;
    char up[SEND_BUFFER], down[SEND_BUFFER];
    char problem[SEND_PROBLEM_MAX];
    size_t problem_size;
    bool keeps_problem;
};

/* From connecting to the end. Returns the exit code. */
int send_exchange(struct send *send, struct error *err) MUST_CHECK;

/* ---- send_words.c ---- */

/* Says why it failed, and returns CLI_FAILED. */
int send_say_failure(struct send *send, const struct postern_error *err);

/* The answer is whole: says what there is to say about it, and returns the exit code. */
int send_say_answer(struct send *send);

/* As people are told it. */
const char *send_method(const struct send *send);

#endif
