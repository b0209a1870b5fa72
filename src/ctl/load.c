/* The configuration file, for the commands that read it themselves. */
#include "ctl/load.h"

int load_config_quietly(const struct ctl *ctl, struct config **ret, struct text *mistakes)
{
    struct diags diags;
    diags_init(&diags, ctl->config);
    int r = config_load(ctl->config, ret, &diags);
    if (r != 0) {
        diags_format(&diags, mistakes);
    }
    diags_release(&diags);
    return r;
}

int load_config(const struct ctl *ctl, struct config **ret)
{
    struct text told;
    text_init(&told, 0);
    text_add(&told, "the configuration cannot be used:\n");
    int r = load_config_quietly(ctl, ret, &told);
    if (r != 0) {
        ctl_failed(ctl, text_string(&told));
    }
    text_release(&told);
    return r;
}
