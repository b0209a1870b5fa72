/* The command line of AWS's kmstool_enclave_cli: see kmstool.c. */
#ifndef POSTERN_CLI_KMSTOOL_H
#define POSTERN_CLI_KMSTOOL_H

#include <stdbool.h>
#include <stdio.h>

/* Whether a program that was called by this name is to be it. */
bool kmstool_is_name(const char *name);

/* The whole program but for its streams. Wipes the secrets in `argv`. */
int kmstool_main(int argc, char **argv, FILE *out, FILE *err);

#endif
