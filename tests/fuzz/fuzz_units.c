/* Any text as a number, a duration, a size: what is taken must come back the same from its own words. */
#include "base/units.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void check_value(uint64_t value)
{
    char buffer[UNITS_TEXT_MAX];
    uint64_t back;

    require(units_parse_duration(units_format_duration(value, buffer), &back) == 0 && back == value);
    require(units_parse_size(units_format_size(value, buffer), &back) == 0 && back == value);
    require(strlen(units_human_duration(value, buffer)) < UNITS_TEXT_MAX);
    require(strlen(units_human_size(value, buffer)) < UNITS_TEXT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    uint64_t value;

    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (units_parse_u64(text, UINT64_MAX, &value) == 0) {
        check_value(value);
    }
    if (units_parse_duration(text, &value) == 0) {
        check_value(value);
    }
    if (units_parse_size(text, &value) == 0) {
        check_value(value);
    }
    free(text);
    return 0;
}
