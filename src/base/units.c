/* Numbers with units, from text and back. */
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t worth;
};

/* Largest first: parsing relies on it for the order of "1h30m", formatting for the fewest units. */
static const struct unit durations[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
static const struct unit sizes[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"B", 1},
};

/* A number being read. Overflow is kept, not returned at once: text that is no number at all is told as
 * such, however large its digits are. */
struct sum {
    uint64_t value;
    bool overflow;
};

/* Adds what the digits at `text` say, times ten for each; returns the first character that is not one. */
static const char *read_digits(const char *text, struct sum *sum)
{
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(sum->value, 10, &sum->value) ||
            __builtin_add_overflow(sum->value, (uint64_t)(*text - '0'), &sum->value)) {
            sum->overflow = true;
        }
    }
    return text;
}

/* Reads <digits><unit>, adds it to `total`, and returns what follows; NULL if it is not that. On success
 * *ret_index is the unit's place in the list. */
static const char *read_part(const char *text, const struct unit *units, size_t count, struct sum *total,
                             size_t *ret_index)
{
    struct sum part = {0};
    const char *name = read_digits(text, &part);
    size_t length = 0;

    while ((name[length] >= 'a' && name[length] <= 'z') || (name[length] >= 'A' && name[length] <= 'Z')) {
        length++;
    }
    if (name == text || length == 0) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strlen(units[i].name) != length || strncmp(units[i].name, name, length) != 0) {
            continue;
        }
        total->overflow |= part.overflow || __builtin_mul_overflow(part.value, units[i].worth, &part.value) ||
                           __builtin_add_overflow(total->value, part.value, &total->value);
        *ret_index = i;
        return name + length;
    }
    return NULL;
}

static int finish(const struct sum *sum, uint64_t max, uint64_t *ret)
{
    if (sum->overflow || sum->value > max) {
        return -ERANGE;
    }
    *ret = sum->value;
    return 0;
}

int units_parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
    struct sum sum = {0};
    const char *end = read_digits(text, &sum);

    if (end == text || *end) {
        return -EINVAL;
    }
    return finish(&sum, max, ret);
}

int units_parse_duration(const char *text, uint64_t *ret_ms)
{
    struct sum sum = {0};
    size_t next = 0; /* the first unit that may still come */

    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    do {
        size_t unit;

        text = read_part(text, durations, ARRAY_SIZE(durations), &sum, &unit);
        if (!text || unit < next) {
            return -EINVAL;
        }
        next = unit + 1;
    } while (*text);
    return finish(&sum, UINT64_MAX, ret_ms);
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
    struct sum sum = {0};
    size_t unit;
    const char *end;

    if (strcmp(text, "0") == 0) {
        *ret_bytes = 0;
        return 0;
    }
    end = read_part(text, sizes, ARRAY_SIZE(sizes), &sum, &unit);
    if (!end || *end) {
        return -EINVAL;
    }
    return finish(&sum, UINT64_MAX, ret_bytes);
}

/* The first `parts` units that are not zero, counted from the first that is not. */
static void format_parts(uint64_t ms, size_t parts, char buffer[UNITS_TEXT_MAX])
{
    size_t length = 0;
    size_t last = ARRAY_SIZE(durations);

    for (size_t i = 0; i < last; i++) {
        uint64_t count = ms / durations[i].worth;

        ms %= durations[i].worth;
        if (count == 0) {
            continue;
        }
        if (length == 0 && i + parts < last) {
            last = i + parts;
        }
        length += (size_t)snprintf(buffer + length, UNITS_TEXT_MAX - length, "%" PRIu64 "%s", count,
                                   durations[i].name);
    }
}

const char *units_format_duration(uint64_t ms, char buffer[UNITS_TEXT_MAX])
{
    if (ms == 0) {
        memcpy(buffer, "0s", sizeof("0s"));
    } else {
        format_parts(ms, ARRAY_SIZE(durations), buffer);
    }
    return buffer;
}

const char *units_format_size(uint64_t bytes, char buffer[UNITS_TEXT_MAX])
{
    const struct unit *unit = sizes;

    while (unit->worth > 1 && (bytes == 0 || bytes % unit->worth != 0)) {
        unit++;
    }
    snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 "%s", bytes / unit->worth, unit->name);
    return buffer;
}

/* value / worth with three figures, rounded half up, in whole numbers so that it is exact. A value that
 * rounds up to `carry` is not shown: the function says so by returning false. */
static bool format_figures(uint64_t value, uint64_t worth, uint64_t carry, const char *suffix,
                           char buffer[UNITS_TEXT_MAX])
{
    uint64_t whole = value / worth;
    unsigned decimals = whole < 10 ? 2 : whole < 100 ? 1 : 0;
    uint64_t scale = decimals == 2 ? 100 : decimals == 1 ? 10 : 1;
    /* rest < worth <= 2^40, so the product stays far from overflow */
    unsigned rest = (unsigned)((value % worth * scale + worth / 2) / worth);

    if (rest == scale) {
        whole++;
        rest = 0;
    }
    if (whole >= carry) {
        return false;
    }
    for (; decimals > 0 && rest % 10 == 0; decimals--) {
        rest /= 10;
    }
    if (decimals == 0) {
        snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 "%s", whole, suffix);
    } else {
        snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 ".%0*u%s", whole, (int)decimals, rest, suffix);
    }
    return true;
}

const char *units_human_size(uint64_t bytes, char buffer[UNITS_TEXT_MAX])
{
    size_t i = ARRAY_SIZE(sizes) - 1;
    char suffix[8];

    for (;; i--) {
        snprintf(suffix, sizeof(suffix), " %s", sizes[i].name);
        if (format_figures(bytes, sizes[i].worth, i > 0 ? 1024 : UINT64_MAX, suffix, buffer)) {
            return buffer;
        }
    }
}

const char *units_human_duration(uint64_t ms, char buffer[UNITS_TEXT_MAX])
{
    if (ms < 1000) {
        snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 "ms", ms);
    } else if (!format_figures(ms, 1000, 60, "s", buffer)) {
        format_parts(ms < 60000 ? 60000 : ms, 2, buffer);
    }
    return buffer;
}

const char *units_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}
