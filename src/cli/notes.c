/* Lines on standard error: see notes.h. */
#include "cli/notes.h"

#include "base/units.h"
#include "cli/loop.h"
#include <poll.h>
#include <stdarg.h>
#include <string.h>

#define LINE_MAX_BYTES 2048

void notes_init(struct notes *notes, FILE *out, const char *prefix)
{
    *notes = (struct notes){.out = out, .prefix = prefix, .refilled_at = cli_now_ms(), .tokens = NOTES_BURST};
}

/* A pipe that is ready takes a line as short as ours whole, so that this never waits. What is no descriptor (a test's
 * memory) always takes it. */
static bool takes_a_line(FILE *out)
{
    struct pollfd wanted = {.fd = fileno(out), .events = POLLOUT};
    return wanted.fd < 0 || (poll(&wanted, 1, 0) > 0 && (wanted.revents & POLLOUT) != 0);
}

static void say(struct notes *notes, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void say(struct notes *notes, const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];
    int length = vsnprintf(line, sizeof line, format, args);
    if (length < 0 || !takes_a_line(notes->out)) {
        notes->left_out++;
        return;
    }
    if (notes->left_out > 0) {
        fprintf(notes->out, "%s%s (%ju line%s left out before)\n", notes->prefix, line,
                (uintmax_t)notes->left_out, units_plural(notes->left_out));
    } else {
        fprintf(notes->out, "%s%s\n", notes->prefix, line);
    }
    notes->left_out = 0;
    fflush(notes->out);
}

void notes_say(struct notes *notes, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(notes, format, args);
    va_end(args);
}

static bool take_token(struct notes *notes)
{
    uint64_t now = cli_now_ms();
    uint64_t earned = (now - notes->refilled_at) * NOTES_PER_SECOND / 1000;
    if (earned > 0) {
        notes->tokens = earned > NOTES_BURST - notes->tokens ? NOTES_BURST : notes->tokens + (uint32_t)earned;
        notes->refilled_at = now;
    }
    if (notes->tokens == 0) {
        return false;
    }
    notes->tokens--;
    return true;
}

void notes_say_some(struct notes *notes, const char *format, ...)
{
    va_list args;
    if (!take_token(notes)) {
        notes->left_out++;
        return;
    }
    va_start(args, format);
    say(notes, format, args);
    va_end(args);
}
