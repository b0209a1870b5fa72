/* A line that tells how far it is: see progress.h. */
#include "cli/progress.h"

#include "base/units.h"
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define QUIET_MS  500u
#define BAR_MAX   40u
#define WIDTH_MIN 20u

void progress_init(struct progress *progress, FILE *out, uint64_t now_ms)
{
    int fd = fileno(out);
    *progress = (struct progress){.out = fd >= 0 && isatty(fd) ? out : NULL, .begun = now_ms, .what = ""};
}

static unsigned width_of(FILE *out)
{
    struct winsize size;
    bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= WIDTH_MIN;
    unsigned width = known ? size.ws_col - 1u : 79; /* in the last column it would wrap */
    return width < PROGRESS_LINE_MAX ? width : PROGRESS_LINE_MAX - 1;
}

static size_t add_bar(char *line, uint64_t done, uint64_t total, unsigned room)
{
    unsigned width = room < BAR_MAX ? room : BAR_MAX;
    unsigned full = total > 0 ? (unsigned)((double)done / (double)total * width) : width;
    line[0] = '[';
    memset(line + 1, ' ', width);
    memset(line + 1, '=', full < width ? full : width);
    line[1 + width] = ']';
    line[2 + width] = ' ';
    return width + 3;
}

void progress_line(const struct progress *progress, uint64_t done, uint64_t total, unsigned width,
                   char line[PROGRESS_LINE_MAX])
{
    char have[UNITS_TEXT_MAX], all[UNITS_TEXT_MAX], rate[UNITS_TEXT_MAX], left[UNITS_TEXT_MAX];
    char before[80], after[80] = "";
    bool known = total != PROGRESS_UNKNOWN;
    int b = snprintf(before, sizeof before, "%s %s%s%s  ", progress->what, units_human_size(done, have),
                     known ? " of " : "", known ? units_human_size(total, all) : "");
    int a = snprintf(after, sizeof after, "%s/s", units_human_size(progress->rate, rate));
    if (known && progress->rate > 0 && done < total) {
        uint64_t ms = (uint64_t)((double)(total - done) / (double)progress->rate * 1000);
        a += snprintf(after + a, sizeof after - (size_t)a, "  %s left",
                      units_human_duration(ms < 1000 ? 1000 : ms - ms % 1000, left));
    }
    size_t at = (size_t)b;
    memcpy(line, before, at);
    unsigned used = (unsigned)b + (unsigned)a + 3;
    if (known && width > used + 10) {
        at += add_bar(line + at, done, total, width - used);
    }
    snprintf(line + at, PROGRESS_LINE_MAX - at, "%s", after);
    line[width] = '\0';
}

static void measure(struct progress *progress, uint64_t done, uint64_t now_ms)
{
    uint64_t ms = now_ms - progress->drawn_at;
    uint64_t rate = ms > 0 ? (done - progress->drawn_done) * 1000 / ms : progress->rate;
    progress->rate = progress->rate > 0 ? (progress->rate * 3 + rate) / 4 : rate;
    progress->drawn_at = now_ms;
    progress->drawn_done = done;
}

void progress_show(struct progress *progress, const char *what, uint64_t done, uint64_t total,
                   uint64_t now_ms)
{
    char line[PROGRESS_LINE_MAX];
    if (progress->out == NULL) {
        return;
    }
    if (progress->what != what) {
        progress->what = what;
        progress->rate = progress->drawn_done = 0;
        progress->drawn_at = now_ms;
    }
    bool first = !progress->drawn && now_ms - progress->begun < QUIET_MS;
    if (first || now_ms - progress->drawn_at < PROGRESS_EVERY_MS) {
        return;
    }
    measure(progress, done, now_ms);
    progress_line(progress, done, total, width_of(progress->out), line);
    fprintf(progress->out, "\r%s\033[K", line);
    fflush(progress->out);
    progress->drawn = true;
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn) {
        fputs("\r\033[K", progress->out);
        fflush(progress->out);
    }
    progress->drawn = false;
}
