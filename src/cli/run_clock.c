/* Who is asked, when, and what is told about it: see run_clock.h. */
#include "cli/run_clock.h"

#include "base/units.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TELL_FROM (CLOCK_SECOND / 10) /* a smaller error is mended without a word */

/* ---- What a word leads to ---- */

/* News, and not the same again. */
static void tell_trouble(struct run_clock *clock, const char *text)
{
    if (strcmp(clock->trouble, text) != 0) {
        snprintf(clock->trouble, sizeof clock->trouble, "%s", text);
        tell(clock->told, "clock: %s", text);
    }
}

static void tell_change(const struct run_clock *clock, const struct clock_sample *sample, const char *source,
                        int64_t since, const char *what)
{
    char words[32], before[UNITS_TEXT_MAX];

    clock_words(-sample->offset, words);
    if (since == 0) {
        tell(clock->told, "clock: %s by the %s: %s", words, source, what);
    } else {
        uint64_t ms = (uint64_t)(sample->monotone - since) / 1000000;

        tell(clock->told, "clock: %s by the %s, %s after it was last right: %s", words, source,
             units_human_duration(ms, before), what);
    }
}

static void become_known(struct run_clock *clock)
{
    bool first = !clock->known;

    clock->known = true;
    if (first && clock->first) {
        clock->first(clock);
    }
}

static void refuse(struct run_clock *clock, enum clock_verdict verdict, const struct clock_sample *sample,
                   const char *source)
{
    char words[32], text[160];

    if (verdict == CLOCK_TOO_OLD) {
        snprintf(text, sizeof text, "the %s's time is before this program was built: not followed", source);
    } else if (verdict == CLOCK_TOO_VAGUE) {
        snprintf(text, sizeof text, "the %s's time came too late to be of use: not followed", source);
    } else {
        snprintf(text, sizeof text,
                 "the %s's time is %s from ours, further than clock_bound allows: not followed", source,
                 clock_words(sample->offset, words));
    }
    tell_trouble(clock, text);
}

static void follow(struct run_clock *clock, enum clock_verdict verdict, const struct clock_sample *sample,
                   const char *source, int64_t since)
{
    bool watch = clock->settings->clock == SETTINGS_CLOCK_WATCH;
    bool large = sample->offset >= TELL_FROM || sample->offset <= -TELL_FROM;
    struct error err = ERROR_INIT;

    if (!watch && clock_apply(verdict, sample->offset, &err) < 0) {
        tell_trouble(clock, err.text);
        return;
    }
    clock->trouble[0] = '\0';
    if (verdict != CLOCK_FINE && large) {
        tell_change(clock, sample, source, since,
                    watch                   ? "left as it is"
                    : verdict == CLOCK_STEP ? "set"
                                            : "being slewed");
    }
}

static void take(struct run_clock *clock, const struct clock_sample *sample, const char *source)
{
    int64_t since = clock->clock.checked_monotone;
    enum clock_verdict verdict = clock_judge(&clock->clock, sample);

    if (verdict == CLOCK_TOO_OLD || verdict == CLOCK_TOO_FAR || verdict == CLOCK_TOO_VAGUE) {
        refuse(clock, verdict, sample, source);
        return;
    }
    follow(clock, verdict, sample, source, since);
    become_known(clock);
}

/* ---- The hypervisor ---- */

/* False: there is no such clock, and the parent is to be asked. */
static bool ask_ptp(struct run_clock *clock)
{
    struct clock_sample sample;
    struct error err = ERROR_INIT;
    int code;

    if (!strcmp(clock->settings->ptp, "none")) {
        return false;
    }
    code = clock_read_ptp(clock->settings->ptp, "/sys", &sample, &err);
    if (code == -ENOENT || code == -ENODEV) {
        return false;
    }
    if (code < 0) {
        tell_trouble(clock, err.text);
        return false;
    }
    take(clock, &sample, "PTP clock");
    return true;
}

static void ask_nsm(struct run_clock *clock, struct nsm *nsm)
{
    struct clock_sample sample;
    struct error err = ERROR_INIT;

    if (clock_read_nsm(nsm, &sample, &err) < 0) {
        tell_trouble(clock, err.text);
    } else {
        take(clock, &sample, "NSM");
    }
}

void run_clock_init(struct run_clock *clock, const struct settings *settings, struct nsm *nsm,
                    const struct tell *told)
{
    memset(clock, 0, sizeof *clock);
    clock->settings = settings;
    clock->told = told;
    clock->patience_ms = RUN_CLOCK_PATIENCE_MS;
    clock_init(&clock->clock, (int64_t)settings->clock_bound * 1000000);
    if (settings->clock != SETTINGS_CLOCK_OFF && !ask_ptp(clock) && nsm) {
        ask_nsm(clock, nsm);
    }
}

/* ---- The parent ---- */

static struct run_clock *of(struct run_stream *stream)
{
    return CONTAINER_OF(stream, struct run_clock, stream);
}

/* Another question, which is known by its first byte. */
static void next_question(struct run_clock *clock)
{
    clock->asked_bytes = clock->answer_bytes = 0;
    clock->ask[0]++;
}

/* A parent that never answers would end the watch without a word. */
static void on_patience_over(struct cli_timer *timer)
{
    run_stream_fail(&CONTAINER_OF(timer, struct run_clock, patience)->stream, -ETIMEDOUT);
}

static void on_opened(struct run_stream *stream)
{
    struct run_clock *clock = of(stream);

    cli_timer_start(clock->loop, &clock->patience, cli_now_ms() + clock->patience_ms, on_patience_over);
    clock->words = 0;
    clock->have_best = false;
    next_question(clock);
}

static ssize_t read_question(struct run_stream *stream, void *buffer, size_t size)
{
    struct run_clock *clock = of(stream);
    size_t left = RUN_CLOCK_ASK - clock->asked_bytes;

    if (clock->words == RUN_CLOCK_WORDS) {
        return 0;
    }
    if (left == 0) {
        return -EAGAIN;
    }
    left = left < size ? left : size;
    memcpy(buffer, clock->ask + clock->asked_bytes, left);
    clock->asked_bytes += (unsigned)left;
    clock->asked = clock_now(CLOCK_BOOTTIME);
    return (ssize_t)left;
}

static uint64_t big_endian(const uint8_t bytes[8])
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

/* The answer is whole. False: it is none. */
static bool take_answer(struct run_clock *clock)
{
    uint64_t theirs = big_endian(clock->answer + RUN_CLOCK_ASK);
    struct clock_sample sample;

    if (memcmp(clock->answer, clock->ask, RUN_CLOCK_ASK) != 0 || theirs > (uint64_t)CLOCK_MAX ||
        clock->asked_bytes < RUN_CLOCK_ASK) {
        return false;
    }
    clock_sample(&sample, clock->asked, clock_now(CLOCK_BOOTTIME), (int64_t)theirs, false);
    if (!clock->have_best || sample.error < clock->best.error) {
        clock->best = sample;
        clock->have_best = true;
    }
    clock->words++;
    next_question(clock);
    return true;
}

static ssize_t write_answer(struct run_stream *stream, const void *bytes, size_t size)
{
    struct run_clock *clock = of(stream);
    size_t room = RUN_CLOCK_ANSWER - clock->answer_bytes;

    /* Nobody has asked any more. */
    if (clock->words == RUN_CLOCK_WORDS) {
        return -EPROTO;
    }
    size = size < room ? size : room;
    memcpy(clock->answer + clock->answer_bytes, bytes, size);
    clock->answer_bytes += (unsigned)size;
    if (clock->answer_bytes == RUN_CLOCK_ANSWER && !take_answer(clock)) {
        return -EPROTO;
    }
    run_stream_wake(stream);
    return (ssize_t)size;
}

/* The daemon goes away before all was asked. */
static void on_hang_up(struct run_stream *stream)
{
    of(stream)->words = RUN_CLOCK_WORDS;
}

/* What a route does that leads elsewhere; NULL: it is the daemon that has something to say. */
static const char *own_words(const struct run_stream *stream)
{
    const struct tunnel *tunnel = &stream->tunnel;

    switch (tunnel->end) {
    case TUNNEL_FINISHED:
        return tunnel->stopped ? NULL : "it ended without an answer";
    case TUNNEL_LOCAL_FAILED:
        return tunnel->status == -ETIMEDOUT ? "it does not answer" : "what it answers is none";
    case TUNNEL_LOST:
    case TUNNEL_CUT:
        return stream->wire->leaving ? "it had not answered when the app ended" : NULL;
    default:
        return NULL;
    }
}

static void tell_no_time(struct run_clock *clock, const char *why)
{
    const struct run_stream *stream = &clock->stream;
    const char *own = own_words(stream);
    char text[sizeof clock->trouble];

    if (own) {
        snprintf(text, sizeof text,
                 "route %s does not tell the time: %s; see that the parent's postern.yaml has it with `type: "
                 "time`",
                 stream->route, own);
    } else {
        snprintf(text, sizeof text, "route %s does not tell the time: %s", stream->route, why);
    }
    tell_trouble(clock, text);
}

static void on_over(struct run_stream *stream, const char *why)
{
    struct run_clock *clock = of(stream);

    cli_timer_stop(&clock->patience);
    stream->wanted = !clock->have_best && !clock->known;
    if (clock->have_best) {
        clock->have_best = false;
        take(clock, &clock->best, "parent's clock");
    } else if (!stream->wire->leaving || !clock->known) {
        tell_no_time(clock, why);
    }
}

static const struct run_stream_ops stream_ops = {
    .read = read_question, .write = write_answer, .finish = on_hang_up, .opened = on_opened, .over = on_over};

/* ---- From time to time ---- */

static void on_due(struct cli_timer *timer);

/* Whether there is a PTP clock to be asked. */
static bool ask(struct run_clock *clock)
{
    bool ptp = ask_ptp(clock);

    cli_timer_start(clock->loop, &clock->timer, cli_now_ms() + clock->settings->clock_interval, on_due);
    if (!ptp && clock->stream.wire && !clock->stream.open) {
        run_stream_wake(&clock->stream);
    }
    return ptp;
}

static void on_due(struct cli_timer *timer)
{
    (void)ask(CONTAINER_OF(timer, struct run_clock, timer));
}

/* A clock that nobody looks after is not to drift in silence. */
static void tell_what_is_missing(const struct run_clock *clock, bool ptp)
{
    if (ptp || clock->stream.wire || clock->settings->clock != SETTINGS_CLOCK_SET) {
        return;
    }
    if (clock->known) {
        tell(
            clock->told,
            "clock: is not kept right: the time was told at the start, and nobody tells it from now on; give "
            "`time` a route of the type `time`, or see that `ptp` is a device that is there");
    } else {
        tell(clock->told,
             "clock: cannot be kept right: nobody tells the time; give `time` a route of the type "
             "`time`, or see that `ptp` or `nsm` is a device that is there");
    }
}

void run_clock_start(struct run_clock *clock, struct cli_loop *loop, struct run_wire *wire)
{
    clock->loop = loop;
    if (clock->settings->clock == SETTINGS_CLOCK_OFF) {
        return;
    }
    if (wire) {
        run_stream_init(&clock->stream, wire, &stream_ops, clock->settings->time, NULL);
    }
    tell_what_is_missing(clock, ask(clock));
}

void run_clock_stop(struct run_clock *clock)
{
    if (clock->loop) {
        cli_timer_stop(&clock->timer);
        cli_timer_stop(&clock->patience);
    }
}
