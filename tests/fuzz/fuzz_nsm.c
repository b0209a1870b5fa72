/* Any bytes as the NSM's answer to each operation: refused with a text, or what is taken out of them is within its bounds. */
#include "nsm/nsm.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

struct input {
    const uint8_t *data;
    size_t size;
};

static int answer(void *user, const uint8_t *request, size_t size, uint64_t deadline,
                  uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err)
{
    const struct input *input = user;

    (void)deadline;
    (void)err;
    require(request && size > 0 && size <= NSM_REQUEST_MAX);
    memcpy(response, input->data, input->size);
    *ret_size = input->size;
    return 0;
}

static void nothing(void *user)
{
    (void)user;
}

static bool holds(int code, struct error *err)
{
    require(code == 0 || (code < 0 && err->text[0] != '\0'));
    err->text[0] = '\0';
    return code == 0;
}

static void try_documents(struct nsm *nsm)
{
    static uint8_t document[NSM_RESPONSE_MAX];
    const struct nsm_attest_request request = {.nonce = {"nonce", 5}};
    struct error err = ERROR_INIT;
    size_t size = 0;
    uint64_t ms = 0;

    if (holds(nsm_attest(nsm, &request, document, &size, &err), &err)) {
        require(size > 0 && size < NSM_RESPONSE_MAX);
    }
    if (holds(nsm_time(nsm, &ms, &err), &err)) {
        require(ms > 0);
    }
}

static void try_pcrs(struct nsm *nsm)
{
    struct error err = ERROR_INIT;
    struct nsm_pcr pcr;

    if (holds(nsm_describe_pcr(nsm, 0, &pcr, &err), &err)) {
        require(pcr.size > 0 && pcr.size <= sizeof pcr.value);
    }
    if (holds(nsm_extend_pcr(nsm, 16, "x", 1, &pcr, &err), &err)) {
        require(pcr.size > 0 && pcr.size <= sizeof pcr.value && !pcr.locked);
    }
    (void)holds(nsm_lock_pcr(nsm, 16, &err), &err);
    (void)holds(nsm_lock_pcrs(nsm, 16, &err), &err);
}

static void try_others(struct nsm *nsm)
{
    uint8_t bytes[NSM_RANDOM_MAX];
    struct error err = ERROR_INIT;
    struct nsm_description description;
    size_t size = 0;

    if (holds(nsm_random(nsm, bytes, &size, &err), &err)) {
        require(size > 0 && size <= sizeof bytes);
    }
    if (holds(nsm_describe(nsm, &description, &err), &err)) {
        require(strlen(description.module_id) < NSM_NAME_MAX && strlen(description.digest) < NSM_NAME_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {.data = data, .size = size};
    const struct nsm_way way = {.ask = answer, .close = nothing, .user = &input};
    struct nsm *nsm;

    if (size > NSM_RESPONSE_MAX || nsm_open_way(&way, &nsm) != 0) {
        return 0;
    }
    try_documents(nsm);
    try_pcrs(nsm);
    try_others(nsm);
    nsm_close(nsm);
    return 0;
}
