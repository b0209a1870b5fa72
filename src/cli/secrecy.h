/*
 * The process of a command that handles secrets: credentials, keys, what KMS answers, the plaintext of files. They are in more places than those
 * that our own code wipes (buffers of TLS, of stdio, on stacks), so that it is the process that is protected: its memory is never swapped where the
 * system lets it be locked, and leaves it in no core dump, nor through a debugger of the same user's.
 *
 * For programs alone: a library does not do this to its host.
 */
#ifndef POSTERN_CLI_SECRECY_H
#define POSTERN_CLI_SECRECY_H

/* For the rest of the process's life, before it has a secret. What the system refuses is done without. */
void secrecy_begin(void);

#endif
