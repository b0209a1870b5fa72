/*
 * What a text of JSON will cost as a tree, told before anything allocates for it. A value takes some 100 bytes of memory, a member of
 * an object 250, whatever their length; what KMS says and is told has one value in 20 bytes or more.
 */
#ifndef POSTERN_KMS_SHAPE_H
#define POSTERN_KMS_SHAPE_H

#include "base/compiler.h"
#include <stdbool.h>
#include <stddef.h>

#define JSON_DEPTH_MAX     16u    /* of objects and arrays in each other; KMS's have 5 at most */
#define JSON_VALUES_MAX    16384u /* in all; fewer in a short text, see JSON_VALUES_FREE */
#define JSON_VALUES_FREE   512u   /* in however short a text ... */
#define JSON_BYTES_A_VALUE 16u    /* ... and one more for each so many bytes */

/* Whether it nests no deeper and has no more values than that. Whether it is JSON at all is for the parser to say. */
bool json_is_modest(const char *text, size_t size) MUST_CHECK;

/* How many values it has, up to a few more than it may have. */
size_t json_values(const char *text, size_t size);

#endif
