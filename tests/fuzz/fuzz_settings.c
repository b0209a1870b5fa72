/* Any text as the lines of a configuration of `postern run`: taken, or told where the mistake is; and never a number outside of
 * its bounds. */
#include "init/settings.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *rest = text, *line;
    struct settings settings;
    struct diags diags;
    struct text all = TEXT_INIT;
    unsigned number = 0;

    require(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    settings_init(&settings, NULL);
    diags_init(&diags, "run.conf");
    while ((line = strsep(&rest, "\n"))) {
        settings_set(&settings, line, ++number, &diags);
    }
    for (size_t i = 0; i < diags.count; i++) {
        require(diags.list[i].place.line >= 1 && diags.list[i].place.line <= number);
    }
    diags_format(&diags, &all);
    require(settings.log_buffer >= 16384 && settings.log_buffer <= 1 << 26);
    require(settings.clock_interval >= 1000 && settings.clock <= SETTINGS_CLOCK_OFF);
    require(settings.listen.count <= SETTINGS_LIST_MAX && settings.end <= SETTINGS_END_POWEROFF);
    text_release(&all);
    diags_release(&diags);
    settings_release(&settings);
    free(text);
    return 0;
}
