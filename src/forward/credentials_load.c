/* Looking for AWS keys: see credentials_load.h. */
#include "forward/credentials_load.h"

#include "forward/credentials_local.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int credentials_load_init(struct credentials_load *load, struct loop *loop, const struct config_sign *sign,
                          credentials_load_cb cb, void *data)
{
    *load = (struct credentials_load){.loop = loop, .kind = sign->credentials, .cb = cb, .data = data};
    load->file = sign->credentials_file != NULL ? strdup(sign->credentials_file) : NULL;
    load->profile = sign->profile != NULL ? strdup(sign->profile) : NULL;
    bool failed = (sign->credentials_file != NULL && load->file == NULL) ||
                  (sign->profile != NULL && load->profile == NULL);
    if (failed) {
        credentials_load_release(load);
    }
    return failed ? -ENOMEM : 0;
}

void credentials_load_release(struct credentials_load *load)
{
    free(load->file);
    free(load->profile);
    load->file = load->profile = NULL;
}

bool credentials_load_changed(const struct credentials_load *load, enum config_credentials from)
{
    (void)load;
    (void)from;
    return false;
}

int credentials_load_start(struct credentials_load *load, struct credentials_found *ret, struct error *err)
{
    if (load->kind == CONFIG_CREDENTIALS_AUTO || load->kind == CONFIG_CREDENTIALS_ENV) {
        ret->from = CONFIG_CREDENTIALS_ENV;
        return credentials_env_read(&ret->keys, err);
    }
    return error_set(err, -ENOENT, "this place is not looked at yet");
}
