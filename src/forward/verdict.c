/* The verdict on an attempt: see verdict.h. */
#include "forward/verdict.h"

#include "aws/error_code.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *verdict_word(enum verdict_outcome outcome)
{
    static const char *const words[] = {
#define X(id, word) [VERDICT_##id] = (word),
        VERDICT_OUTCOME_TABLE(X)
#undef X
    };
    return words[outcome];
}

static void set(struct verdict *verdict, enum verdict_outcome outcome)
{
    static const enum spool_verdict verdicts[] = {
        [VERDICT_DONE] = SPOOL_DONE,   [VERDICT_RETRY] = SPOOL_RETRY,     [VERDICT_UNREACHED] = SPOOL_RETRY,
        [VERDICT_BURIED] = SPOOL_BURY, [VERDICT_DAMAGED] = SPOOL_RELEASE, [VERDICT_RELEASED] = SPOOL_RELEASE,
    };
    verdict->outcome = outcome;
    verdict->spool = (struct spool_outcome){
        .verdict = verdicts[outcome],
        .cause = verdict->cause,
        .blameless = outcome == VERDICT_UNREACHED,
    };
}

static bool says(const struct verdict_attempt *attempt, enum aws_error_kind kind)
{
    return attempt->code != NULL && aws_error_kind(attempt->code) == kind;
}

/* A key that has expired, or a secret that was rotated on one side alone, is no fault of the records: all of them would meet it. */
static bool is_about_route(const struct verdict_attempt *attempt)
{
    bool refused = attempt->status == 401 || attempt->status == 403 || says(attempt, AWS_ERROR_CALLER);
    return attempt->vouched && refused;
}

static bool is_passing(const struct verdict_attempt *attempt)
{
    unsigned status = attempt->status;
    return status == 408 || status == 425 || status == 429 || status >= 500 || is_about_route(attempt) ||
           says(attempt, AWS_ERROR_PASSING);
}

bool verdict_asks_for_time(const struct verdict_attempt *attempt)
{
    return attempt->status == 429 || attempt->status == 503 || says(attempt, AWS_ERROR_PASSING);
}

static const char *hint(const struct verdict_attempt *attempt, bool good)
{
    return good                      ? " before it had the whole request"
           : is_about_route(attempt) ? ": see that the route's key, secret or certificate is good"
                                     : "";
}

static void judge_answer(const struct verdict_attempt *attempt, struct verdict *ret)
{
    bool good = attempt->status >= 200 && attempt->status < 300;
    if (good && attempt->whole) {
        set(ret, VERDICT_DONE);
        ret->cause[0] = '\0';
        return;
    }
    set(ret, good || is_passing(attempt) ? VERDICT_RETRY : VERDICT_BURIED);
    ret->spool.retry_after_ms = attempt->retry_after_ms;
    bool coded = attempt->code != NULL;
    snprintf(ret->cause, sizeof ret->cause, "the upstream answered %u%s%s%s%s", attempt->status,
             coded ? " (" : "", coded ? attempt->code : "", coded ? ")" : "", hint(attempt, good));
}

static void judge_silence(const struct verdict_attempt *attempt, struct verdict *ret)
{
    const char *detail = attempt->detail != NULL ? attempt->detail : http_refusal_meaning(attempt->why);
    /* Only what is too large to be signed is the record's own fault. */
    if (attempt->why == HTTP_REFUSED_BODY_SIZE || attempt->why == HTTP_REFUSED_UNSIGNABLE) {
        set(ret, VERDICT_BURIED);
    } else {
        set(ret, attempt->reached ? VERDICT_RETRY : VERDICT_UNREACHED);
    }
    snprintf(ret->cause, sizeof ret->cause, "%s: %s", http_refusal_word(attempt->why), detail);
}

void verdict_reach(const struct verdict_attempt *attempt, struct verdict *ret)
{
    if (attempt->damaged) {
        set(ret, VERDICT_DAMAGED);
        snprintf(ret->cause, sizeof ret->cause, "%s", attempt->detail != NULL ? attempt->detail : "");
    } else if (attempt->status != 0) {
        judge_answer(attempt, ret);
    } else if (attempt->unreadable) {
        set(ret, VERDICT_UNREACHED);
        snprintf(ret->cause, sizeof ret->cause, "%s", attempt->detail != NULL ? attempt->detail : "");
    } else if (attempt->cut) {
        set(ret, VERDICT_RELEASED);
        ret->cause[0] = '\0';
    } else {
        judge_silence(attempt, ret);
    }
}

void verdict_refuse(enum http_refusal why, struct verdict *ret)
{
    /* Memory is none of the record's business. */
    set(ret, why == HTTP_REFUSED_NO_MEMORY ? VERDICT_UNREACHED : VERDICT_BURIED);
    snprintf(ret->cause, sizeof ret->cause, "the rules of the route refuse it now: %s: %s",
             http_refusal_word(why), http_refusal_meaning(why));
}

/* "Sun, 06 Nov 1994 08:49:37 GMT". strptime() is not asked for the words, which are of a locale. */
static bool read_date(const char *text, time_t *ret)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char day[4], month[4];
    struct tm tm = {.tm_isdst = 0};
    int end = 0;
    if (sscanf(text, "%3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", day, &tm.tm_mday, month, &tm.tm_year,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &end) != 7 ||
        end == 0 || text[end] != '\0') {
        return false;
    }
    const char *found = strstr(months, month);
    if (found == NULL || strlen(month) != 3 || (found - months) % 3 != 0 || tm.tm_year < 1970) {
        return false;
    }
    tm.tm_mon = (int)(found - months) / 3;
    tm.tm_year -= 1900;
    *ret = timegm(&tm);
    return *ret >= 0;
}

uint64_t verdict_retry_after(struct http_span value, uint64_t now_ms)
{
    char text[40];
    uint64_t seconds, ms = 0;
    time_t date;
    if (value.size == 0 || value.size >= sizeof text) {
        return 0;
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    if (http_span_number(value, &seconds)) {
        ms = seconds < SPOOL_DELAY_MAX_MS / 1000 ? seconds * 1000 : SPOOL_DELAY_MAX_MS;
    } else if (read_date(text, &date) && (uint64_t)date * 1000 > now_ms) {
        ms = (uint64_t)date * 1000 - now_ms;
    }
    return ms < SPOOL_DELAY_MAX_MS ? ms : SPOOL_DELAY_MAX_MS;
}
