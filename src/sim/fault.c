/* What is to go wrong: see fault.h. */
#include "sim/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DELAY_MAX 600000

static const struct {
    const char *word;
    enum sim_fault_kind kind;
    const char *name;
} words[] = {
    {"error", SIM_FAULT_ERROR, ""},
    {"throttle", SIM_FAULT_ERROR, "ThrottlingException"},
    {"internal", SIM_FAULT_ERROR, "KMSInternalException"},
    {"leak-beside", SIM_FAULT_LEAK_BESIDE, ""},
    {"leak-instead", SIM_FAULT_LEAK_INSTEAD, ""},
    {"plaintext-null", SIM_FAULT_NULL, ""},
    {"plaintext-empty", SIM_FAULT_EMPTY, ""},
    {"garbage", SIM_FAULT_GARBAGE, ""},
    {"slow", SIM_FAULT_SLOW, ""},
    {"close", SIM_FAULT_CLOSE, ""},
    {"half", SIM_FAULT_HALF, ""},
    {"wrong-cms", SIM_FAULT_WRONG_CMS, ""},
    {"wrong-recipient", SIM_FAULT_WRONG_RECIPIENT, ""},
    {"cms-sha1", SIM_FAULT_CMS_SHA1, ""},
    {"cms-primitive", SIM_FAULT_CMS_PRIMITIVE, ""},
    {"cms-pieces", SIM_FAULT_CMS_PIECES, ""},
    {"cms-scattered", SIM_FAULT_CMS_SCATTERED, ""},
    {"huge", SIM_FAULT_HUGE, ""},
    {"wrong-root", SIM_FAULT_WRONG_ROOT, ""},
};

int sim_faults_init(struct sim_faults *faults)
{
    faults->count = 0;
    return -pthread_mutex_init(&faults->lock, NULL);
}

void sim_faults_release(struct sim_faults *faults)
{
    pthread_mutex_destroy(&faults->lock);
}

static bool set_kind(struct sim_fault *fault, const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strcmp(words[i].word, word) == 0) {
            fault->kind = words[i].kind;
            if (fault->name[0] == '\0') {
                snprintf(fault->name, sizeof fault->name, "%s", words[i].name);
            }
            return true;
        }
    }
    return false;
}

static int read_fault(const json_t *object, struct sim_fault *ret, struct error *err)
{
    const char *word = NULL, *operation = "*", *name = "";
    int count = 1, status = 0;
    json_error_t why;

    *ret = (struct sim_fault){.kind = SIM_FAULT_NONE};
    if (json_unpack_ex((json_t *)object, &why, JSON_STRICT, "{s:s, s?s, s?s, s?i, s?i, s?i}", "fault", &word,
                       "operation", &operation, "name", &name, "count", &count, "status", &status, "delay_ms",
                       &ret->delay_ms) != 0) {
        return error_set(err, -EINVAL, "a fault: %s", why.text);
    }
    if (count < 1 || ret->delay_ms < 0 || ret->delay_ms > DELAY_MAX || status < 0 || status > 599) {
        return error_set(err, -EINVAL, "a fault: count, status or delay_ms is out of range");
    }
    snprintf(ret->operation, sizeof ret->operation, "%s", operation);
    snprintf(ret->name, sizeof ret->name, "%s", name);
    ret->count = (unsigned)count;
    ret->status = (unsigned)status;
    if (!set_kind(ret, word)) {
        return error_set(err, -EINVAL, "a fault: there is none called %.32s", word);
    }
    if (ret->kind == SIM_FAULT_ERROR && ret->name[0] == '\0') {
        return error_set(err, -EINVAL, "a fault: an error needs a name");
    }
    return 0;
}

int sim_faults_add(struct sim_faults *faults, const json_t *object, struct error *err)
{
    struct sim_fault fault;
    int rv = read_fault(object, &fault, err);

    if (rv != 0) {
        return rv;
    }
    pthread_mutex_lock(&faults->lock);
    if (faults->count < SIM_FAULTS_MAX) {
        faults->list[faults->count++] = fault;
    } else {
        rv = error_set(err, -ENOSPC, "a fault: there are %d already", SIM_FAULTS_MAX);
    }
    pthread_mutex_unlock(&faults->lock);
    return rv;
}

void sim_faults_clear(struct sim_faults *faults)
{
    pthread_mutex_lock(&faults->lock);
    faults->count = 0;
    pthread_mutex_unlock(&faults->lock);
}

static bool fits(const struct sim_fault *fault, const char *operation)
{
    return strcmp(fault->operation, "*") == 0 || strcmp(fault->operation, operation) == 0;
}

struct sim_fault sim_faults_take(struct sim_faults *faults, const char *operation)
{
    struct sim_fault found = {.kind = SIM_FAULT_NONE};
    size_t i = 0;

    pthread_mutex_lock(&faults->lock);
    while (i < faults->count && !fits(&faults->list[i], operation)) {
        i++;
    }
    if (i < faults->count) {
        found = faults->list[i];
        if (--faults->list[i].count == 0) {
            faults->count--;
            memmove(&faults->list[i], &faults->list[i + 1], (faults->count - i) * sizeof *faults->list);
        }
    }
    pthread_mutex_unlock(&faults->lock);
    return found;
}
