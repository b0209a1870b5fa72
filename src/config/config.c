/* The configuration's life: read, made, shared, and gone with its last reference. */
#include "config/config.h"
#include "config/arena.h"
#include "config/build.h"
#include "config/tree.h"
#include "config/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Two sockets a stream, one a session; pipes for some, and what the daemon itself needs. */
#define DESCRIPTORS_PER_STREAM 2
#define DESCRIPTORS_BESIDE     1024

/* `config.owner` points back here. */
struct owner {
    struct config config;
    struct arena arena;
    atomic_uint references;
};

struct config *config_new(const char *file)
{
    struct owner *owner = calloc(1, sizeof *owner);
    if (owner == NULL) {
        return NULL;
    }
    struct config *config = &owner->config;
    config->owner = owner;
    atomic_init(&owner->references, 1);
    config->file = config_strdup(config, file);
    if (config->file == NULL) {
        config_unref(config);
        return NULL;
    }
    struct build build = {.config = config};
    for (int scope = SCOPE_FILE; scope < SCOPE_ENCLAVE; scope++) {
        build_defaults(&build, (enum scope)scope, build_object(config, (enum scope)scope));
    }
    if (build.no_memory) {
        config_unref(config);
        return NULL;
    }
    return config;
}

void config_route_init(struct config_route *route)
{
    struct build build = {.config = NULL};
    *route = (struct config_route){.name = NULL};
    build_defaults(&build, SCOPE_ROUTE, route);
}

char *config_strdup(struct config *config, const char *string)
{
    return arena_string(&((struct owner *)config->owner)->arena, string, strlen(string));
}

void *config_alloc(struct config *config, size_t count, size_t size)
{
    return arena_alloc(&((struct owner *)config->owner)->arena, count, size);
}

struct config *config_ref(struct config *config)
{
    struct owner *owner = config->owner;
    atomic_fetch_add_explicit(&owner->references, 1, memory_order_relaxed);
    return config;
}

/* The rules own memory that is not the arena's. */
static void release_rules(struct config *config)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (config->routes[i].forward != NULL) {
            http_rules_release(&config->routes[i].forward->rules);
        }
    }
}

void config_unref(struct config *config)
{
    struct owner *owner = config != NULL ? config->owner : NULL;
    if (owner == NULL || atomic_fetch_sub_explicit(&owner->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    release_rules(config);
    arena_release(&owner->arena);
    free(owner);
}

/* The verdict on what was read: a configuration is handed out only when nothing was told about it. */
static int finish(struct build *build, struct config **ret)
{
    int r = build->no_memory ? -ENOMEM : build->diags->total > 0 ? -EINVAL : 0;
    if (r == 0) {
        *ret = build->config;
    } else {
        config_unref(build->config);
    }
    if (r == -ENOMEM) {
        diags_add(build->diags, (struct place){0, 0}, "cannot read the configuration: out of memory");
    }
    return r;
}

int config_parse(const char *file, const char *data, size_t size, struct config **ret, struct diags *diags)
{
    struct arena arena = ARENA_INIT; /* the tree's, which goes when the configuration is made */
    const struct node *root = NULL;
    struct build build = {.config = config_new(file), .diags = diags};
    int r = build.config != NULL ? tree_parse(data, size, &arena, diags, &root) : -ENOMEM;
    if (r == 0) {
        build_config(&build, root);
    }
    if (diags->total > 0) {
        utf8_tell_lookalikes(data, size, r != 0, diags);
    }
    build.no_memory = build.no_memory || r == -ENOMEM;
    r = finish(&build, ret);
    arena_release(&arena);
    return r;
}

static int cannot_read(int code, struct diags *diags)
{
    const char *advice = code == -ENOENT   ? ": see that it is there, or give another path with --config"
                         : code == -EACCES ? ": the daemon's user must be able to read it"
                                           : "";
    diags_add(diags, (struct place){0, 0}, "cannot read the configuration: %s%s", error_words(code), advice);
    return code;
}

/* At most one byte more than a configuration may have, so that a larger file is known as such. */
static int read_all(int fd, char *data, size_t room, size_t *ret_size)
{
    size_t size = 0;
    while (size < room) {
        ssize_t n = read(fd, data + size, room - size);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0) {
            break;
        }
        size += n > 0 ? (size_t)n : 0;
    }
    *ret_size = size;
    return 0;
}

/* Whoever reads a FIFO or a device waits for somebody else, and a daemon that reloads has others to serve. */
static int open_regular(const char *file, struct diags *diags)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int code = -errno;
        if (fd >= 0) {
            close(fd);
        }
        return cannot_read(code, diags);
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        diags_add(diags, (struct place){0, 0},
                  "cannot read the configuration: this is %s, and only a regular file is read: give the path "
                  "of one",
                  S_ISDIR(st.st_mode)    ? "a directory"
                  : S_ISFIFO(st.st_mode) ? "a FIFO"
                                         : "a device or a socket");
        return -EINVAL;
    }
    return fd;
}

uint64_t config_descriptors(uint64_t max_streams, uint64_t max_sessions)
{
    return max_streams * DESCRIPTORS_PER_STREAM + max_sessions + DESCRIPTORS_BESIDE;
}

void config_notes(const struct config *config, struct text *out)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        const struct config_route *route = &config->routes[i];
        const struct config_sign *sign = route->forward != NULL ? route->forward->sign : NULL;
        if (sign != NULL && sign->unsent.line > 0) {
            text_addf(
                out,
                "%s:%u:%u: routes.%s.headers: authorization is never sent, since `sign` sets it: leave it "
                "out, or `sign`\n",
                config->file, sign->unsent.line, sign->unsent.column, route->name);
        }
    }
}

int config_load(const char *file, struct config **ret, struct diags *diags)
{
    const size_t room = TREE_SIZE_MAX + 1;
    size_t size = 0;
    int fd = open_regular(file, diags);
    if (fd < 0) {
        return fd;
    }
    char *data = malloc(room);
    int r = data != NULL ? read_all(fd, data, room, &size) : -ENOMEM;
    close(fd);
    r = r == 0 ? config_parse(file, data, size, ret, diags) : cannot_read(r, diags);
    free(data);
    return r;
}
