/* What programs ask for, checked and put into the core's own form. */
#include "base/sized.h"
#include "client/postern_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_DEFAULT (UINT64_C(32) << 20)
#define BACKOFF_MAX    10000u /* ms; or the least, where the program wants it to be more */

int postern_read_struct(void *ret, size_t known, const void *given, size_t size, struct postern_error *err)
{
    struct error why = ERROR_INIT;
    int status = sized_read(ret, known, given, size, &why);
    return status ? postern_fail(err, status, why.text) : 0;
}

int postern_check_bytes(const void *bytes, size_t length, struct postern_error *err)
{
    return bytes || length == 0
               ? 0
               : postern_fail(err, -EINVAL, "a length is given without bytes: the pointer is NULL");
}

static uint32_t or_default(uint32_t given, uint32_t other)
{
    return given != 0 ? given : other;
}

static void set_timers(struct connection_config *config, const struct postern_options *options)
{
    config->connect_timeout = or_default(options->connect_timeout_ms, 10000);
    config->backoff_min = or_default(options->backoff_min_ms, 100);
    config->backoff_max = or_default(options->backoff_max_ms,
                                     config->backoff_min > BACKOFF_MAX ? config->backoff_min : BACKOFF_MAX);
    config->session.progress_timeout = or_default(options->progress_timeout_ms, 300000);
    config->session.ping_interval = or_default(options->ping_interval_ms, 15000);
    config->session.pong_timeout = or_default(options->pong_timeout_ms, 30000);
    /* Ours ends sooner, since it counts from postern_open(). */
    config->session.open_timeout = or_default(options->open_timeout_ms, 30000);
    config->session.half_closed_timeout = config->session.progress_timeout;
}

int postern_read_options(const struct postern_options *given, struct postern *postern,
                         struct connection_config *ret, struct postern_error *err)
{
    struct postern_options options = {0};
    int status = given ? postern_read_struct(&options, sizeof(options), given, given->size, err) : 0;

    if (status != 0) {
        return status;
    }
    if (options.flags & ~POSTERN_LAZY) {
        return postern_fail(err, -EINVAL, "a flag is set that this version of libpostern does not know");
    }
    if (options.build && strlen(options.build) >= sizeof(postern->build)) {
        return postern_fail(err, -EINVAL, "options: `build` is longer than 64 bytes");
    }
    connection_config_default(ret);
    set_timers(ret, &options);
    postern->open_timeout = ret->session.open_timeout;
    postern->max_streams = or_default(options.max_streams, 1024);
    ret->session.max_own_streams = postern->max_streams;
    ret->session.budget = options.memory != 0 ? options.memory : MEMORY_DEFAULT;
    snprintf(postern->build, sizeof(postern->build), "%s",
             options.build ? options.build : "libpostern " POSTERN_VERSION);
    ret->session.build = postern->build;
    return 0;
}

int postern_read_address(const char *address, struct addr *ret, struct postern_error *err)
{
    struct error why = ERROR_INIT;

    if (!address) {
        address = getenv("POSTERN_ADDRESS");
    }
    if (!address || address[0] == '\0') {
        address = POSTERN_DEFAULT_ADDRESS;
    }
    return addr_parse(address, ret, &why) == 0 ? 0 : postern_fail(err, -EINVAL, why.text);
}

static int read_meta(const struct postern_open_options *options, struct control_open *open,
                     struct postern_error *err)
{
    if (options->meta_count > CONTROL_META_MAX) {
        return postern_fail(err, -EINVAL, "a stream has at most 16 meta entries");
    }
    if (options->meta_count > 0 && !options->meta) {
        return postern_fail(err, -EINVAL, "there are meta entries, but `meta` is NULL");
    }
    for (size_t i = 0; i < options->meta_count; i++) {
        const struct postern_meta *meta = &options->meta[i];
        struct control_meta_entry *entry = &open->meta[i];

        if (!meta->key || !meta->value) {
            return postern_fail(err, -EINVAL, "a meta entry has no key or no value");
        }
        entry->key = control_text(meta->key);
        entry->binary = meta->length > 0;
        entry->value =
            entry->binary ? (struct control_text){meta->value, meta->length} : control_text(meta->value);
    }
    open->meta_count = options->meta_count;
    return 0;
}

int postern_read_request(const char *route, const struct postern_open_options *given, uint32_t *ret_timeout,
                         uint8_t **ret, size_t *ret_length, struct postern_error *err)
{
    struct postern_open_options options = {0};
    struct control_open open = {.route = control_text(route)};
    uint8_t bytes[FRAME_CONTROL_MAX];
    struct breach breach;
    int status = given ? postern_read_struct(&options, sizeof(options), given, given->size, err) : 0;

    if (status != 0) {
        return status;
    }
    if (options.timeout_ms != 0 && options.timeout_ms < *ret_timeout) {
        *ret_timeout = options.timeout_ms;
    }
    open.timeout_ms = *ret_timeout;
    open.kind = options.kind;
    status = read_meta(&options, &open, err);
    if (status != 0) {
        return status;
    }
    *ret_length = control_encode_open(&open, bytes, sizeof(bytes));
    /* What the daemon would not take is not sent. */
    if (*ret_length == 0 || !control_decode_open(bytes, *ret_length, &open, &breach)) {
        return postern_fail(
            err, -EINVAL,
            "a route has 1 to 255 bytes of printable ASCII, meta has no key twice, keys of at most "
            "64 bytes and values of at most 1024, and about 4000 in all");
    }
    *ret = malloc(*ret_length);
    if (!*ret) {
        return postern_fail(err, -ENOMEM, "out of memory for a stream");
    }
    memcpy(*ret, bytes, *ret_length);
    return 0;
}
