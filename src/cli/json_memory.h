/*
 * jansson's memory, wiped when it is let go: what it parses may be a secret, of which its lexer makes copies that nobody else can reach.
 *
 * This concerns all of the process, so it is for a program to ask for, and not for a library.
 */
#ifndef POSTERN_CLI_JSON_MEMORY_H
#define POSTERN_CLI_JSON_MEMORY_H

/* Before jansson is used for the first time. What it hands out is not to be given to free(): so no json_dumps(). */
void json_memory_wipe_all(void);

#endif
