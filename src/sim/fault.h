/*
 * What is to go wrong, and how often: asked for by tests, in words, over the control listener. The first that fits an operation is
 * used up by one.
 */
#ifndef POSTERN_SIM_FAULT_H
#define POSTERN_SIM_FAULT_H

#include "base/compiler.h"
#include "base/error.h"
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#define SIM_FAULTS_MAX 64

enum sim_fault_kind {
    SIM_FAULT_NONE,
    SIM_FAULT_ERROR,           /* an exception of that name, with that status; of an NSM, its error */
    SIM_FAULT_LEAK_BESIDE,     /* the plaintext beside CiphertextForRecipient */
    SIM_FAULT_LEAK_INSTEAD,    /* the plaintext in its place */
    SIM_FAULT_NULL,            /* a null beside it, as the documentation has it */
    SIM_FAULT_EMPTY,           /* an empty text beside it, the same */
    SIM_FAULT_GARBAGE,         /* no JSON; of an NSM, no CBOR */
    SIM_FAULT_SLOW,            /* waits `delay_ms`, then does as asked */
    SIM_FAULT_CLOSE,           /* closes the connection instead of an answer */
    SIM_FAULT_HALF,            /* closes it one byte before the end */
    SIM_FAULT_WRONG_CMS,       /* random bytes in the place of the envelope */
    SIM_FAULT_WRONG_RECIPIENT, /* encrypted for another key */
    SIM_FAULT_CMS_SHA1,        /* with OAEP by SHA-1 */
    SIM_FAULT_CMS_PRIMITIVE,   /* good: the content in one piece */
    SIM_FAULT_CMS_PIECES,      /* good: the content in many pieces */
    SIM_FAULT_CMS_SCATTERED,   /* good: as without a fault */
    SIM_FAULT_HUGE,            /* an answer of 4 MiB */
    SIM_FAULT_WRONG_ROOT,      /* of an NSM: a document that is signed under another root */
};

struct sim_fault {
    enum sim_fault_kind kind;
    char operation[48]; /* "*": any */
    char name[64];      /* of the error */
    unsigned status;    /* the same; 0: 400, or 500 for what ends so in AWS */
    unsigned count;     /* how many more times */
    int delay_ms;
};

struct sim_faults {
    pthread_mutex_t lock;
    struct sim_fault list[SIM_FAULTS_MAX];
    size_t count;
};

int sim_faults_init(struct sim_faults *faults) MUST_CHECK;
void sim_faults_release(struct sim_faults *faults);

/* {"operation": "Decrypt", "fault": "throttle", "count": 2, ...}. 0; -EINVAL with what is wrong, -ENOSPC. */
int sim_faults_add(struct sim_faults *faults, const json_t *object, struct error *err) MUST_CHECK;
void sim_faults_clear(struct sim_faults *faults);

/* What is to go wrong now; its kind is SIM_FAULT_NONE if nothing is. */
struct sim_fault sim_faults_take(struct sim_faults *faults, const char *operation);

#endif
