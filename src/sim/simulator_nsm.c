/* The simulator's NSMs, set up and asked: see simulator.h. */
#include "attest/eif.h"
#include "nsm/nsm.h"
#include "sim/cbor.h"
#include "sim/simulator.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Measurements ---- */

/* As the hypervisor measures it. */
static int measure(struct sim_nsm *nsm, const char *path, struct error *err)
{
    struct eif eif = {.version = 0};
    FILE *in = fopen(path, "re");
    int rv = in ? eif_measure(in, &eif, err) : error_errno(err, -errno, "cannot read %s", path);

    if (in) {
        fclose(in);
    }
    if (rv == 0) {
        memcpy(nsm->pcrs[0], eif.pcr0, SIM_PCR);
        memcpy(nsm->pcrs[1], eif.pcr1, SIM_PCR);
        memcpy(nsm->pcrs[2], eif.pcr2, SIM_PCR);
        if (eif.has_signature) {
            memcpy(nsm->pcrs[8], eif.pcr8, SIM_PCR);
        }
    }
    return rv;
}

static int set_pcrs(struct sim_nsm *nsm, json_t *pcrs, struct error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(pcrs, name, value)
    {
        char *end;
        unsigned long index = strtoul(name, &end, 10);
        if (*name < '0' || *name > '9' || *end != '\0' || index >= ATTEST_PCRS || !json_is_string(value) ||
            !sim_hex_decode(json_string_value(value), nsm->pcrs[index], SIM_PCR)) {
            return error_set(err, -EINVAL,
                             "nsm: pcrs: %.16s: an index below %u and %d hexadecimal digits are "
                             "expected",
                             name, ATTEST_PCRS, 2 * SIM_PCR);
        }
    }
    return 0;
}

/* What a debug enclave has zeros for. */
static void forget_image(struct sim_nsm *nsm)
{
    memset(nsm->pcrs[0], 0, SIM_PCR);
    memset(nsm->pcrs[1], 0, SIM_PCR);
    memset(nsm->pcrs[2], 0, SIM_PCR);
    memset(nsm->pcrs[8], 0, SIM_PCR);
}

static int set_measurements(struct sim_nsm *nsm, const struct sim_config_nsm *config, const char *instance_id,
                            struct error *err)
{
    int rv = config->eif ? measure(nsm, config->eif, err) : 0;

    if (config->role_arn) {
        sim_pcr_extend(nsm->pcrs[3], config->role_arn, strlen(config->role_arn));
    }
    sim_pcr_extend(nsm->pcrs[4], instance_id, strlen(instance_id));
    rv = rv == 0 ? set_pcrs(nsm, config->pcrs, err) : rv;
    if (config->debug) {
        forget_image(nsm);
    }
    return rv;
}

int sim_seat_start(struct sim_seat *seat, struct sim_simulator *simulator,
                   const struct sim_config_nsm *config, struct error *err)
{
    const char *instance_id = config->instance_id ? config->instance_id : simulator->config.instance_id;
    int rv = sim_nsm_init(&seat->nsm, &simulator->chain, &simulator->clock, config->module_id);

    if (rv != 0) {
        return error_errno(err, rv, "cannot make an NSM");
    }
    seat->simulator = simulator;
    seat->nsm.open_map = strcmp(config->shape, "indefinite") == 0;
    seat->nsm.tagged = strcmp(config->shape, "tagged") == 0;
    rv = set_measurements(&seat->nsm, config, instance_id, err);
    if (rv == 0) {
        rv = sim_service_start(&seat->service, config->listen, simulator->stop, NULL, sim_seat_serve, seat,
                               err);
    }
    if (rv != 0) {
        sim_nsm_release(&seat->nsm);
    }
    return rv;
}

/* ---- Conversations ---- */

/* The same enclave's document, under a root that nobody trusts. */
static int answer_strangely(struct sim_seat *seat, const uint8_t *request, size_t size, struct text *out)
{
    struct sim_nsm stranger;
    const char *operation;
    int rv = sim_nsm_init(&stranger, &seat->simulator->other, &seat->simulator->clock, seat->nsm.module_id);

    if (rv != 0) {
        return rv;
    }
    memcpy(stranger.pcrs, seat->nsm.pcrs, sizeof stranger.pcrs);
    rv = sim_nsm_answer(&stranger, request, size, out, &operation);
    sim_nsm_release(&stranger);
    return rv;
}

/* Puts what is to go wrong in the place of the answer. 0, or -ECONNABORTED: the conversation ends here. */
static int spoil(struct sim_seat *seat, const struct sim_wire *wire, const uint8_t *request, size_t size,
                 const char *operation, struct text *answer)
{
    struct sim_fault fault = sim_faults_take(&seat->simulator->nsm_faults, operation);

    switch (fault.kind) {
    case SIM_FAULT_ERROR:
        text_clear(answer);
        sim_nsm_error(answer, fault.name);
        return 0;
    case SIM_FAULT_GARBAGE:
        text_clear(answer);
        text_add(answer, "\x9f\x9f\x9f garbage");
        return 0;
    case SIM_FAULT_WRONG_ROOT:
        text_clear(answer);
        return answer_strangely(seat, request, size, answer);
    case SIM_FAULT_SLOW:
        sim_wire_wait(wire, fault.delay_ms);
        return 0;
    case SIM_FAULT_CLOSE:
        return -ECONNABORTED;
    default:
        return 0;
    }
}

static int send_answer(struct sim_wire *wire, const struct text *answer)
{
    struct text framed = TEXT_INIT;
    unsigned char head[4] = {(unsigned char)(answer->length >> 24), (unsigned char)(answer->length >> 16),
                             (unsigned char)(answer->length >> 8), (unsigned char)answer->length};

    text_add_bytes(&framed, head, sizeof head);
    text_add_bytes(&framed, answer->data, answer->length);
    int rv = framed.failed ? -ENOMEM : sim_wire_write(wire, framed.data, framed.length);
    text_release(&framed);
    return rv;
}

static int answer_one(struct sim_seat *seat, struct sim_wire *wire, const uint8_t *request, size_t size)
{
    struct text answer = TEXT_INIT;
    const char *operation;
    int rv = sim_nsm_answer(&seat->nsm, request, size, &answer, &operation);

    rv = rv == 0 ? spoil(seat, wire, request, size, operation, &answer) : rv;
    rv = rv == 0 ? send_answer(wire, &answer) : rv;
    text_release(&answer);
    return rv;
}

void sim_seat_serve(void *arg, struct sim_wire *wire)
{
    uint8_t head[4], request[NSM_REQUEST_MAX];
    bool some;

    while (sim_wire_read_all(wire, head, sizeof head, &some) == 0 && some) {
        size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        /* The driver takes no more; what follows cannot be told from the next request then. */
        if (size == 0 || size > sizeof request || sim_wire_read_all(wire, request, size, &some) != 0 ||
            !some || answer_one(arg, wire, request, size) != 0) {
            break;
        }
    }
}
