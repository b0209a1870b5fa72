/*
 * What KMS answered, written out: as bytes, as base64, or as JSON with AWS's own names. A secret goes straight to its descriptor, by
 * pieces that are wiped; it is not shown on a terminal unless that was asked for, and a file with it is for its owner alone.
 */
#ifndef POSTERN_CLI_KMS_OUTPUT_H
#define POSTERN_CLI_KMS_OUTPUT_H

#include "cli/cli.h"
#include "cli/out_file.h"
#include <stddef.h>

enum kms_format { KMS_FORMAT_DEFAULT, KMS_FORMAT_RAW, KMS_FORMAT_BASE64, KMS_FORMAT_JSON };

struct kms_output {
    struct out_file file;
    bool some; /* of the JSON's members */
    int status;
};

/* `path` NULL: standard output. CLI_DONE, or what was wrong has been said. */
int kms_output_open(struct kms_output *output, const struct cli *cli, const char *path, bool show);

/* One of these; what goes wrong is kept for kms_output_close(). */
void kms_output_bytes(struct kms_output *output, enum kms_format format, const void *data, size_t size);
void kms_output_member(struct kms_output *output, const char *name, const void *data, size_t size);
void kms_output_text(struct kms_output *output, const char *name, const char *text);

/* Ends it: CLI_DONE if all of it was written, or why not has been said. */
int kms_output_close(struct kms_output *output, const struct cli *cli);

void kms_output_abandon(struct kms_output *output);

/* The whole of it: a file with those bytes, or, with `path` NULL, nothing. */
int kms_output_file(const struct cli *cli, const char *path, enum kms_format format, const void *data,
                    size_t size);

#endif
