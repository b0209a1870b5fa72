/* What differs between two configurations: see changes.h. */
#include "config/changes.h"

#include <string.h>

/* FNV-1a: http://www.isthe.com/chongo/tech/comp/fnv/ */
#define FNV_OFFSET UINT64_C(14695981039346656037)
#define FNV_PRIME  UINT64_C(1099511628211)

#define NAMES_MAX 8 /* of a kind that are told by name */

/* With the terminator, so that no two texts are told like one. */
static uint64_t add_text(uint64_t digest, const char *text)
{
    do {
        digest = (digest ^ (unsigned char)*text) * FNV_PRIME;
    } while (*text++ != '\0');
    return digest;
}

/* As deep as the parser went, and no deeper. */
uint64_t changes_digest(const struct node *node)
{
    uint64_t digest = (FNV_OFFSET ^ (uint64_t)node->kind) * FNV_PRIME;
    digest = node->kind == NODE_TEXT ? add_text(digest, node->text) : digest;
    for (const struct node *inner = node->first; inner != NULL; inner = inner->next) {
        digest = add_text(digest, inner->key != NULL ? inner->key : "");
        digest = (digest ^ changes_digest(inner)) * FNV_PRIME;
    }
    return digest;
}

/* ---- Telling ---- */

/* One array of things that have a name and a digest. */
struct things {
    const char *what; /* "": a section, whose name is the file's own word */
    const void *first;
    size_t size, name_at, digest_at;
    unsigned count;
};

static const char *name_of(const struct things *things, unsigned i)
{
    const char *at = (const char *)things->first + i * things->size + things->name_at;
    return *(const char *const *)(const void *)at;
}

static uint64_t digest_of(const struct things *things, unsigned i)
{
    const char *at = (const char *)things->first + i * things->size + things->digest_at;
    return *(const uint64_t *)(const void *)at;
}

enum { OF_KIND_MAX = 4 };

static void list_things(const struct config *config, struct things ret[OF_KIND_MAX])
{
#define THINGS(words, type, member)                             \
    (struct things){.what = (words),                            \
                    .first = config->member##s,                 \
                    .size = sizeof(struct type),                \
                    .name_at = offsetof(struct type, name),     \
                    .digest_at = offsetof(struct type, digest), \
                    .count = config->member##_count}
    ret[0] = THINGS("", config_section, section);
    ret[1] = THINGS("listener ", config_listener, listener);
    ret[2] = THINGS("enclave ", config_enclave, enclave);
    ret[3] = THINGS("route ", config_route, route);
#undef THINGS
}

enum change { ADDED, REMOVED, CHANGED };

/* -1: none. */
static int find_thing(const struct things *things, const char *name)
{
    for (unsigned i = 0; i < things->count; i++) {
        if (strcmp(name_of(things, i), name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool is_of(enum change change, const struct things *ours, unsigned i, const struct things *others)
{
    int other = find_thing(others, name_of(ours, i));
    return change != CHANGED ? other < 0
                             : other >= 0 && digest_of(ours, i) != digest_of(others, (unsigned)other);
}

/* Returns how many there are now. */
static unsigned tell_things(enum change change, const struct things *ours, const struct things *others,
                            unsigned told, struct text *out)
{
    static const char *const words[] = {
        [ADDED] = "; added: ", [REMOVED] = "; removed: ", [CHANGED] = "; changed: "};
    const char *quote = ours->what[0] == '\0' ? "`" : "";
    for (unsigned i = 0; i < ours->count; i++) {
        if (!is_of(change, ours, i, others)) {
            continue;
        }
        if (told < NAMES_MAX) {
            text_addf(out, "%s%s%s%s%s", told == 0 ? words[change] : ", ", ours->what, quote,
                      name_of(ours, i), quote);
        }
        told++;
    }
    return told;
}

static unsigned tell_change(enum change change, const struct things *ours, const struct things *others,
                            struct text *out)
{
    unsigned told = 0;
    for (unsigned i = 0; i < OF_KIND_MAX; i++) {
        told = tell_things(change, &ours[i], &others[i], told, out);
    }
    if (told > NAMES_MAX) {
        text_addf(out, " and %u more", told - NAMES_MAX);
    }
    return told;
}

void changes_tell(const struct config *before, const struct config *after, struct text *out)
{
    struct things old[OF_KIND_MAX], new[OF_KIND_MAX];
    list_things(before, old);
    list_things(after, new);
    unsigned told = tell_change(ADDED, new, old, out);
    told += tell_change(REMOVED, old, new, out);
    told += tell_change(CHANGED, new, old, out);
    text_add(out, told == 0 ? "; the file says the same" : "");
}
