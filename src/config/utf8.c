/* Which characters a configuration file may hold. */
#include "config/utf8.h"
#include <stdint.h>
#include <string.h>

/* The length of the character at `data` and its value, or 0 where it is not UTF-8: cut short, longer than it
 * need be, half of a surrogate pair, or beyond Unicode. */
static unsigned decode(const unsigned char *data, size_t size, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned length = data[0] < 0x80             ? 1
                      : (data[0] & 0xe0) == 0xc0 ? 2
                      : (data[0] & 0xf0) == 0xe0 ? 3
                      : (data[0] & 0xf8) == 0xf0 ? 4
                                                 : 0;
    if (length == 0 || length > size) {
        return 0;
    }
    uint32_t value = length == 1 ? data[0] : data[0] & (0x7fu >> length);
    for (unsigned i = 1; i < length; i++) {
        if ((data[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (data[i] & 0x3fu);
    }
    if (value < least[length] || (value >= 0xd800 && value <= 0xdfff) || value > 0x10ffff) {
        return 0;
    }
    *ret = value;
    return length;
}

/* NEL and the separators of lines and paragraphs end a line to libyaml, while an editor shows what follows as more of the
 * same line: a comment could hide a key. */
static bool allowed(uint32_t value)
{
    if (value < 0x20) {
        return value == '\t' || value == '\n' || value == '\r';
    }
    return (value < 0x7f || value > 0x9f) && value != 0x2028 && value != 0x2029 && value != 0xfeff &&
           value != 0xfffe && value != 0xffff;
}

static void step(struct place *place, uint32_t value)
{
    if (value == '\n') {
        place->line++;
        place->column = 1;
    } else {
        place->column++;
    }
}

bool utf8_check(const char *data, size_t size, struct diags *diags)
{
    struct place place = {1, 1};
    for (size_t i = 0; i < size;) {
        uint32_t value = 0;
        unsigned length = decode((const unsigned char *)data + i, size - i, &value);
        if (length == 0) {
            diags_add(diags, place, "byte 0x%02x is not UTF-8: save the file as UTF-8",
                      (unsigned)(unsigned char)data[i]);
            return false;
        }
        if (value == 0) {
            diags_add(diags, place, "a NUL byte: the file is not text, or is damaged");
            return false;
        }
        if (!allowed(value)) {
            diags_add(diags, place, "the character U+%04X is not allowed in a text file: remove it",
                      (unsigned)value);
            return false;
        }
        i += length;
        if (value == '\r' && (i == size || data[i] != '\n')) {
            diags_add(diags, place,
                      "a carriage return without a line feed, which ends a line to some readers and not to "
                      "others: remove it");
            return false;
        }
        step(&place, value);
    }
    return true;
}

struct lookalike {
    uint32_t first, last;
    const char *name, *advice;
};

static const struct lookalike *find_lookalike(uint32_t value)
{
    static const struct lookalike known[] = {
        {0xa0, 0xa0, "a non-breaking space", "type a blank"},
        {0x2007, 0x2007, "a non-breaking space", "type a blank"},
        {0x202f, 0x202f, "a non-breaking space", "type a blank"},
        {0x200b, 0x200d, "a space without a width", "remove it"},
        {0x2060, 0x2060, "a space without a width", "remove it"},
        {0x2018, 0x201b, "a curly quote", "type a straight one, ' or \""},
        {0x201c, 0x201f, "a curly quote", "type a straight one, \" or '"},
        {0x2010, 0x2015, "a dash", "type the hyphen, -"},
        {0x2212, 0x2212, "a minus sign", "type the hyphen, -"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (value >= known[i].first && value <= known[i].last) {
            return &known[i];
        }
    }
    return NULL;
}

static bool has_mistake(const struct diags *diags, unsigned line, bool not_yaml)
{
    for (size_t i = 0; i < diags->count; i++) {
        unsigned at = diags->list[i].place.line;
        if (at == line || (not_yaml && at == line + 1)) {
            return true;
        }
    }
    return false;
}

void utf8_tell_lookalikes(const char *data, size_t size, bool not_yaml, struct diags *diags)
{
    struct place place = {1, 1};
    unsigned told = 0; /* or a comment: the line that needs no more looking at */
    uint32_t value = 0;
    for (size_t i = 0; i < size;) {
        bool blank_before = value == ' ' || value == '\t' || place.column == 1;
        unsigned length = decode((const unsigned char *)data + i, size - i, &value);
        if (length == 0) {
            return; /* utf8_check() has told it */
        }
        const struct lookalike *found = find_lookalike(value);
        if (value == '#' && blank_before) {
            told = place.line;
        } else if (found != NULL && told != place.line && has_mistake(diags, place.line, not_yaml)) {
            diags_add(diags, place, "here is %s (U+%04X), which is a letter like others to YAML: %s",
                      found->name, (unsigned)value, found->advice);
            told = place.line;
        }
        i += length;
        step(&place, value);
    }
}

static bool is_plain(uint32_t value)
{
    bool turns_direction = (value >= 0x202a && value <= 0x202e) || (value >= 0x2066 && value <= 0x2069) ||
                           value == 0x200e || value == 0x200f;
    return value >= 0x20 && (value < 0x7f || value > 0x9f) && value != 0x2028 && value != 0x2029 &&
           !turns_direction;
}

bool utf8_is_plain(const char *string, size_t length)
{
    for (size_t i = 0; i < length;) {
        uint32_t value = 0;
        unsigned used = decode((const unsigned char *)string + i, length - i, &value);
        if (used == 0 || !is_plain(value)) {
            return false;
        }
        i += used;
    }
    return true;
}

int utf8_clip(const char *string)
{
    size_t length = strlen(string);
    if (length <= UTF8_CLIP) {
        return (int)length;
    }
    length = UTF8_CLIP;
    while (length > 0 && ((unsigned char)string[length] & 0xc0) == 0x80) {
        length--;
    }
    return (int)length;
}
