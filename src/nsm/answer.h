/*
 * Finding things in the CBOR that an NSM answers with or signs, with nothing allocated: a place in it, and steps from there.
 *
 * Devices differ: maps are of definite or of indefinite length, and their keys in any order. What no device uses (text in
 * pieces, say) is passed over; the depth is bounded, and so is the number of items, since one of a byte costs as much to pass over as one
 * of a thousand. libcbor tells the items apart.
 */
#ifndef POSTERN_NSM_ANSWER_H
#define POSTERN_NSM_ANSWER_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_ITEMS_MAX \
    512u /* of what an NSM makes, in each other or one behind the other; genuine documents have some 60 */

/* Where an item begins, where the bytes that it lies in end, and how many items there may be. */
struct answer {
    const uint8_t *at, *end;
    unsigned items;
};

/* True if the bytes are one whole item of at most `items`, those in it included, and nothing behind it. */
bool answer_is_whole(const uint8_t *bytes, size_t length, unsigned items, struct answer *ret) MUST_CHECK;

/* The value under a key of the map at `map`. False: there is none, or it is no map. */
bool answer_find(const struct answer *map, const char *key, struct answer *ret) MUST_CHECK;

/* A walk through the entries of an item that answer_is_whole() found to be one. */
struct answer_walk {
    struct answer at;
    uint64_t left; /* entries; UINT64_MAX: up to a break */
    unsigned each; /* items of an entry */
};

/* False: it is no map, or no array. */
bool answer_walk_map(const struct answer *map, struct answer_walk *ret) MUST_CHECK;
bool answer_walk_array(const struct answer *array, struct answer_walk *ret) MUST_CHECK;

/* The next entry, and goes on. False: there is none. `ret_key` is for maps; NULL for arrays. */
bool answer_next(struct answer_walk *walk, struct answer *ret_key, struct answer *ret_value) MUST_CHECK;

/* Entry `index` of an array of exactly `count` entries. */
bool answer_entry(const struct answer *array, size_t index, size_t count, struct answer *ret) MUST_CHECK;

bool answer_is_null(const struct answer *at) MUST_CHECK;
bool answer_bool(const struct answer *at, bool *ret) MUST_CHECK;
bool answer_uint(const struct answer *at, uint64_t *ret) MUST_CHECK;
bool answer_bytes(const struct answer *at, const uint8_t **ret, size_t *ret_length) MUST_CHECK;
bool answer_text(const struct answer *at, const char **ret,
                 size_t *ret_length) MUST_CHECK; /* not terminated */

#endif
