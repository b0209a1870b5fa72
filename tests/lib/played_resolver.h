/* getaddrinfo() as a test has it: --wrap=getaddrinfo,--wrap=freeaddrinfo. */
#ifndef POSTERN_TESTS_PLAYED_RESOLVER_H
#define POSTERN_TESTS_PLAYED_RESOLVER_H

#include <stdint.h>

struct resolver {
    int result;              /* EAI_...; 0: the addresses */
    uint16_t ports[3];       /* at 127.0.0.1, one after another; 0: no more */
    unsigned given, freed;   /* lists */
    char host[64], port[16]; /* that were asked for */
};

extern struct resolver resolver;

#endif
