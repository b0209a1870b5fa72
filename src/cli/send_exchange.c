/*
 * The request of postern send and its answer, on the client's loop over a pollable connection.
 *
 * Whatever happens leads to on_step(), which moves what can be moved: the body from its source to the daemon, the answer
 * from the daemon to standard output, both at once. A step moves a bounded number of pieces and then lets the loop
 * have its turn.
 *
 * Happy path: connected -> the head is out -> body and answer -> both over -> the session is ended -> the exit code.
 * Every other end passes through fail(), which gives the stream up, so that the daemon does not take a part for the whole.
 * leave() is called once, and after it nothing is moved any more.
 */
#include "cli/problem.h"
#include "cli/send.h"

#include "base/text.h"
#include "http/status.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOODBYE_MS 5000u
#define HURRY_MS   1000u
#define PIECES     32 /* a step */
#define MEMORY     (16u << 20)

static void on_step(struct cli_task *task);
static void look(struct send *send);

static void again(struct send *send)
{
    cli_task_queue(&send->loop, &send->step, on_step);
}

/* ---- The end ---- */

static void on_patience_over(struct cli_timer *timer)
{
    cli_loop_stop(&CONTAINER_OF(timer, struct send, whole_timer)->loop);
}

static void leave(struct send *send, int code)
{
    uint32_t goodbye = send->signal != 0 ? HURRY_MS : GOODBYE_MS;
    send->code = code;
    send->leaving = true;
    progress_clear(&send->progress);
    cli_loop_remove(&send->loop, &send->in_watch);
    cli_loop_remove(&send->loop, &send->out_watch);
    cli_timer_stop(&send->idle_timer);
    cli_timer_stop(&send->progress_timer);
    postern_request_close(send->request);
    send->request = NULL;
    cli_timer_start(&send->loop, &send->whole_timer, cli_now_ms() + goodbye, on_patience_over);
    (void)postern_drain(send->door, goodbye, NULL); /* the process is the one that made it */
    look(send);
}

static void fail(struct send *send, const struct postern_error *err)
{
    leave(send, send_say_failure(send, err));
}

static void fail_locally(struct send *send, const char *what, int status)
{
    progress_clear(&send->progress);
    leave(send, cli_failed(send->cli, "%s: %s", what, error_words(status)));
}

/* ---- Moving ---- */

/* Each returns whether something was moved. */

static bool read_source(struct send *send)
{
    char what[320];
    ssize_t n = send_body_read(&send->body, send->up, SEND_BUFFER);
    if (n == -EAGAIN) {
        return false;
    }
    if (n < 0) {
        snprintf(what, sizeof what, "cannot read %.250s", send->body.name);
        fail_locally(send, what, (int)n);
        return false;
    }
    send->in_over = n == 0;
    send->up_at = 0;
    send->up_end = (size_t)n;
    if (n == 0 && send->body.left != POSTERN_BODY_UNKNOWN && send->body.left > 0) {
        progress_clear(&send->progress);
        leave(send, cli_failed(send->cli, "%.250s became shorter while it was sent: the request was given up",
                               send->body.name));
        return false;
    }
    return true;
}

/* Of the body, whose rest nobody wants. The answer tells why. */
static bool stop_sending(struct send *send)
{
    send->stopped = true;
    cli_loop_remove(&send->loop, &send->in_watch);
    return true;
}

static bool finish_sending(struct send *send)
{
    struct postern_error err;
    int r = postern_request_finish(send->request, &err);
    if (r == 0) {
        send->sent_all = true;
        cli_loop_remove(&send->loop, &send->in_watch);
    } else if (r == -EPIPE) {
        return stop_sending(send);
    } else {
        fail(send, &err);
    }
    return r == 0;
}

static bool upload(struct send *send)
{
    struct postern_error err;
    if (send->sent_all || send->stopped) {
        return false;
    }
    if (send->up_at == send->up_end) {
        return send->in_over ? finish_sending(send) : read_source(send);
    }
    ssize_t n =
        postern_request_write(send->request, send->up + send->up_at, send->up_end - send->up_at, 0, &err);
    if (n > 0) {
        send->up_at += (size_t)n;
        send->sent += (uint64_t)n;
        send->moved += (uint64_t)n;
    } else if (n == -EPIPE) {
        return stop_sending(send);
    } else if (n != -EAGAIN) {
        fail(send, &err);
    }
    return n > 0;
}

/* The status line and the headers, to be written before the body. They are no larger than what came. */
static bool take_head(struct send *send)
{
    struct text head = TEXT_INIT;
    struct postern_header header;
    send->keeps_problem = problem_is_type(postern_request_header(send->request, "content-type"));
    if (!send->include) {
        return true;
    }
    text_addf(&head, "HTTP/1.1 %d %s\r\n", send->status, http_status_words((unsigned)send->status));
    for (size_t i = 0; postern_request_header_at(send->request, i, &header) != 0; i++) {
        text_addf(&head, "%s: %s\r\n", header.name, header.value);
    }
    text_add(&head, "\r\n");
    bool fits = !head.failed && head.length <= SEND_BUFFER;
    if (fits) {
        memcpy(send->down, head.data, head.length);
        send->down_end = head.length;
    }
    text_release(&head);
    return fits;
}

/* The answer has the terminal to itself: it need not end its line, and what is drawn again would go over it. */
static bool is_shown(const struct send *send)
{
    return send->status != 0 && isatty(STDOUT_FILENO);
}

static bool wait_for_answer(struct send *send)
{
    struct postern_error err;
    int status = postern_request_status(send->request, 0, &err);
    if (status == -EAGAIN) {
        return false;
    }
    if (status < 0) {
        fail(send, &err);
        return false;
    }
    send->status = status;
    send->moved++;
    if (is_shown(send)) {
        progress_clear(&send->progress);
    }
    if (!take_head(send)) {
        fail_locally(send, "cannot show the head of the answer", -ENOMEM);
        return false;
    }
    return true;
}

static void keep_problem(struct send *send, const char *data, size_t size)
{
    size_t room = SEND_PROBLEM_MAX - send->problem_size;
    size = size < room ? size : room;
    memcpy(send->problem + send->problem_size, data, size);
    send->problem_size += size;
}

static bool fetch(struct send *send)
{
    struct postern_error err;
    ssize_t n = postern_request_read(send->request, send->down, SEND_BUFFER, 0, &err);
    if (n == -EAGAIN) {
        return false;
    }
    if (n < 0) {
        fail(send, &err);
        return false;
    }
    send->answer_over = n == 0;
    send->down_at = 0;
    send->down_end = (size_t)n;
    send->moved += (uint64_t)n;
    if (send->keeps_problem) {
        keep_problem(send, send->down, (size_t)n);
    }
    return true;
}

static bool download(struct send *send)
{
    if (send->status == 0) {
        return wait_for_answer(send);
    }
    if (send->down_at == send->down_end) {
        return !send->answer_over && fetch(send);
    }
    ssize_t n = stdio_end_write(&send->out, send->down + send->down_at, send->down_end - send->down_at);
    if (n < 0 && n != -EAGAIN) {
        fail_locally(send, "cannot write to standard output", (int)n);
    }
    if (n > 0) {
        send->down_at += (size_t)n;
        send->moved += (uint64_t)n;
    }
    return n > 0;
}

static bool is_over(const struct send *send)
{
    return send->answer_over && send->down_at == send->down_end;
}

/* ---- Connecting ---- */

/* The first try counts: whether to try again is the caller's to know. */
static bool is_connected(struct send *send)
{
    struct postern_error err;
    int r = send->connected ? 0 : postern_wait_ready(send->door, 0, &err);
    if (r == 0) {
        send->connected = true;
    } else if (r != -EAGAIN) {
        fail(send, &err);
    }
    return r == 0;
}

static void show_progress(struct send *send)
{
    uint64_t now = cli_now_ms();
    if (send->leaving || is_shown(send)) {
        return;
    }
    if (send->body.kind != SEND_NOTHING && !send->sent_all && !send->stopped) {
        progress_show(&send->progress, "sending", send->sent, send->body.size, now);
    } else if (send->status == 0) {
        progress_show(&send->progress, "waiting for the answer", send->sent, PROGRESS_UNKNOWN, now);
    } else {
        uint64_t length = postern_request_length(send->request);
        progress_show(&send->progress, "receiving", send->moved - send->sent, length, now);
    }
}

static void step(struct send *send)
{
    int pieces = 0;
    bool moved = is_connected(send);
    while (moved && !send->leaving && pieces++ < PIECES) {
        moved = upload(send);
        moved = (!send->leaving && download(send)) || moved;
        if (!send->leaving && is_over(send)) {
            leave(send, send_say_answer(send));
        }
    }
    if (moved && !send->leaving) {
        again(send);
    }
    show_progress(send);
}

static void on_door_due(struct cli_timer *timer)
{
    struct send *send = CONTAINER_OF(timer, struct send, door_timer);
    postern_process(send->door);
    again(send);
}

/* When the connection wants to be called next, or whether it is over. */
static void look(struct send *send)
{
    if (send->leaving && postern_wait_ready(send->door, 0, NULL) == -ESHUTDOWN) {
        cli_loop_stop(&send->loop);
        return;
    }
    int wait = postern_timeout(send->door);
    if (wait >= 0) {
        cli_timer_start(&send->loop, &send->door_timer, cli_now_ms() + (unsigned)wait, on_door_due);
    } else {
        cli_timer_stop(&send->door_timer);
    }
}

static void on_step(struct cli_task *task)
{
    struct send *send = CONTAINER_OF(task, struct send, step);
    if (!send->leaving) {
        step(send);
    }
    look(send);
}

/* ---- What wakes it ---- */

static void on_door(struct cli_watch *watch, uint32_t events UNUSED)
{
    struct send *send = CONTAINER_OF(watch, struct send, door_watch);
    postern_process(send->door);
    again(send);
}

static void on_input(struct cli_watch *watch, uint32_t events UNUSED)
{
    again(CONTAINER_OF(watch, struct send, in_watch));
}

static void on_output(struct cli_watch *watch, uint32_t events)
{
    struct send *send = CONTAINER_OF(watch, struct send, out_watch);
    if ((events & EPOLLERR) != 0 && send->out.kind != STDIO_SOCKET && !send->leaving) {
        fail_locally(send, "nobody reads standard output any more", -EPIPE);
    }
    again(send);
}

static void on_progress(struct cli_timer *timer)
{
    struct send *send = CONTAINER_OF(timer, struct send, progress_timer);
    show_progress(send);
    cli_timer_start(&send->loop, timer, cli_now_ms() + PROGRESS_EVERY_MS, on_progress);
}

static void say_late(struct send *send, const char *why, uint64_t ms)
{
    struct postern_error err = {.status = -ETIMEDOUT};
    snprintf(err.message, sizeof err.message, "%s for %ju s; %s", why, (uintmax_t)(ms / 1000),
             send->status != 0 ? "the answer is not whole" : "there is no answer");
    fail(send, &err);
}

static void on_idle(struct cli_timer *timer)
{
    struct send *send = CONTAINER_OF(timer, struct send, idle_timer);
    if (send->moved == send->moved_seen) {
        say_late(send, "nothing moved", send->idle_ms);
        return;
    }
    send->moved_seen = send->moved;
    cli_timer_start(&send->loop, timer, cli_now_ms() + send->idle_ms, on_idle);
}

static void on_late(struct cli_timer *timer)
{
    struct send *send = CONTAINER_OF(timer, struct send, whole_timer);
    say_late(send, "it is not done, and went on", send->timeout_ms);
}

/* A second one does not wait for the goodbye. */
static void on_signal(struct cli_loop *loop, int signal)
{
    struct send *send = CONTAINER_OF(loop, struct send, loop);
    struct postern_error err = {.status = -EINTR, .message = "interrupted"};
    send->signal = signal;
    if (send->leaving) {
        cli_loop_stop(loop);
    } else {
        send->connected = true;
        fail(send, &err);
    }
}

/* ---- Beginning ---- */

static int watch(struct send *send, struct error *err)
{
    int r = cli_loop_add(&send->loop, &send->door_watch, postern_fd(send->door), EPOLLIN, on_door);
    if (r == 0 && send->body.kind == SEND_FILE) {
        r = cli_loop_add(&send->loop, &send->in_watch, send->body.end.fd, EPOLLIN | EPOLLRDHUP | EPOLLET,
                         on_input);
        r = r == -EPERM ? 0 : r; /* a file is always ready */
    }
    if (r == 0) {
        r = cli_loop_add(&send->loop, &send->out_watch, send->out.fd, EPOLLOUT | EPOLLET, on_output);
        r = r == -EPERM ? 0 : r;
    }
    if (r != 0) {
        return error_errno(err, r, "cannot watch the connection, standard input and output");
    }
    return cli_loop_signals(&send->loop, on_signal, err);
}

static void start_timers(struct send *send)
{
    uint64_t now = cli_now_ms();
    if (send->idle_ms > 0) {
        cli_timer_start(&send->loop, &send->idle_timer, now + send->idle_ms, on_idle);
    }
    if (send->timeout_ms > 0) {
        cli_timer_start(&send->loop, &send->whole_timer, now + send->timeout_ms, on_late);
    }
    if (send->progress.out != NULL) {
        cli_timer_start(&send->loop, &send->progress_timer, now + PROGRESS_EVERY_MS, on_progress);
    }
}

/* What is wrong with the request is known before anybody is asked. */
static int begin(struct send *send, struct error *err)
{
    struct postern_options options;
    struct postern_error why;
    postern_options_init(&options);
    options.build = "postern " POSTERN_VERSION;
    options.max_streams = 1;
    options.memory = MEMORY;
    int r = postern_start(send->cli->address, &options, &send->door, &why);
    if (r != 0) {
        return error_set(err, r, "%s", why.message);
    }
    r = postern_request(send->door, send->route, &send->request_options, &send->request, &why);
    return r == 0 ? 0 : error_set(err, r, "%s", why.message);
}

static int carry(struct send *send, struct error *err)
{
    int r = begin(send, err);
    if (r == 0) {
        r = watch(send, err);
    }
    if (r != 0) {
        return r;
    }
    start_timers(send);
    again(send);
    r = cli_loop_run(&send->loop);
    return r == 0 ? 0 : error_errno(err, r, "cannot wait for the answer");
}

int send_exchange(struct send *send, struct error *err)
{
    send->door_watch.fd = send->in_watch.fd = send->out_watch.fd = -1;
    int r = cli_loop_init(&send->loop, err);
    if (r == 0) {
        stdio_end_open(&send->out, STDOUT_FILENO, true);
        r = carry(send, err);
        postern_request_close(send->request);
        postern_disconnect(send->door, 0);
        stdio_end_close(&send->out, true);
    }
    cli_loop_release(&send->loop);
    return r;
}
