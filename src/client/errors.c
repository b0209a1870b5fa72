/* Filling in struct postern_error: see postern_private.h. */
#include "client/postern_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* By hand: a program with a loop of its own is told that it has to wait each time that it has done what it could. */
static int fail(struct postern_error *err, int status, const char *message, const char *more)
{
    if (!err) {
        return status;
    }
    size_t length = strnlen(message, sizeof(err->message) - 1);
    size_t rest = strnlen(more, sizeof(err->message) - 1 - length);

    err->status = status;
    err->code = CODE_NO_ERROR;
    err->word = "";
    err->retryable = status == -EAGAIN || status == -ETIMEDOUT;
    memcpy(err->message, message, length);
    memcpy(err->message + length, more, rest);
    err->message[length + rest] = '\0';
    return status;
}

int postern_fail(struct postern_error *err, int status, const char *message)
{
    return fail(err, status, message, "");
}

int postern_fail_wait(struct postern_error *err, int status, const char *what)
{
    return fail(err, status, what, status == -EAGAIN ? ": not yet" : ": the time given for it is over");
}

/* What a status says where nobody said more. */
static const char *words(int status)
{
    switch (status) {
    case -ECONNREFUSED:
        return "the stream was refused";
    case -ECONNRESET:
        return "the other side gave the stream up";
    case -EPIPE:
        return "the other side takes no more";
    case -ENOTCONN:
        return "the connection to the daemon was lost";
    case -ESHUTDOWN:
        return "this side gave the stream up";
    default:
        return error_words(status);
    }
}

/* What the reason's table advises, where the code is a reason's. */
static const char *advice(uint32_t code)
{
    enum reason reason;

    return code_reason(code, &reason) ? reason_meaning(reason) : NULL;
}

int postern_fail_with(struct postern_error *err, const struct failure *failure)
{
    const char *more = failure->message ? failure->message : advice(failure->code);

    if (!err) {
        return failure->status;
    }
    err->status = failure->status;
    err->code = failure->code;
    err->word = failure->code != CODE_NO_ERROR ? code_word(failure->code) : "";
    err->retryable = failure->retryable;
    if (failure->status == -ENOTCONN && failure->message) {
        snprintf(err->message, sizeof(err->message), "%s", failure->message);
    } else {
        snprintf(err->message, sizeof(err->message), "%s%s%s%s%s", words(failure->status),
                 err->word[0] ? ": " : "", err->word, more ? ": " : "", more ? more : "");
    }
    return failure->status;
}

/* Without memory for the words, the code has to do. */
void failure_set(struct failure *failure, const struct failure *why, size_t length)
{
    const char *copy = why->message ? strndup(why->message, length) : NULL;

    failure_clear(failure);
    *failure = *why;
    failure->message = copy;
}

void failure_clear(struct failure *failure)
{
    free((char *)failure->message);
    *failure = (struct failure){0};
}
