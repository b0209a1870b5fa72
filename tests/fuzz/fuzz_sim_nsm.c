/* Any bytes as a request to a software NSM: answered with one whole item of CBOR, that the driver would take. */
#include "nsm/answer.h"
#include "nsm/nsm.h"
#include "sim/nsm.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sim_chain chain;
static struct sim_clock its_time;
static struct sim_nsm nsm;

static void set_up(void)
{
    struct error err;

    if (sim_chain_open(&chain, NULL, "us-east-1", "i-0123456789abcdef0", time(NULL), &err) != 0 ||
        sim_nsm_init(&nsm, &chain, &its_time, "") != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text out = TEXT_INIT;
    struct answer whole;
    const char *operation;

    if (!nsm.chain) {
        set_up();
    }
    if (sim_nsm_answer(&nsm, data, size, &out, &operation) != 0 || out.length > NSM_RESPONSE_MAX ||
        !answer_is_whole((const uint8_t *)out.data, out.length, ANSWER_ITEMS_MAX, &whole)) {
        abort();
    }
    text_release(&out);
    return 0;
}
