/* The simulator, started and stopped: see simulator.h. */
#include "sim/simulator.h"
#include "sim/keep.h"
#include "sim/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- HTTP services ---- */

static void serve_kms(void *arg, struct sim_wire *wire)
{
    sim_http_serve(wire, sim_kms_handle, arg);
}

static void serve_control(void *arg, struct sim_wire *wire)
{
    sim_http_serve(wire, sim_control_handle, arg);
}

static void serve_metadata(void *arg, struct sim_wire *wire)
{
    sim_http_serve(wire, sim_metadata_handle, arg);
}

/* ---- Its parts ---- */

static int open_chains(struct sim_simulator *simulator, struct error *err)
{
    const struct sim_config *config = &simulator->config;
    time_t now = sim_now(&simulator->clock);
    int rv =
        sim_chain_open(&simulator->chain, config->directory, config->region, config->instance_id, now, err);

    return rv == 0 ? sim_chain_open(&simulator->other, NULL, config->region, config->instance_id, now, err)
                   : rv;
}

static int open_kms(struct sim_simulator *simulator, struct error *err)
{
    const struct sim_config *config = &simulator->config;
    struct sim_kms *kms = &simulator->kms;
    int rv;

    kms->region = config->region;
    kms->account = config->account;
    kms->directory = config->directory;
    kms->clock = &simulator->clock;
    kms->shape = strcmp(config->cms, "primitive") == 0 ? SIM_CMS_PRIMITIVE : SIM_CMS_SCATTERED;
    memcpy(kms->root, simulator->chain.fingerprint, sizeof kms->root);
    rv = sim_kms_init(kms);
    if (rv != 0) {
        kms->region = NULL; /* there is nothing to release */
        return error_errno(err, rv, "cannot make a KMS");
    }
    rv = sim_config_credentials(config, &kms->credentials, err);
    rv = rv == 0 ? sim_keys_load(&kms->keys, config->directory, err) : rv;
    rv = rv == 0 ? sim_config_keys(config, kms, err) : rv;
    return rv == 0 ? sim_keys_save(&kms->keys, config->directory, err) : rv;
}

static int start_kms(struct sim_simulator *simulator, struct error *err)
{
    const struct sim_config *config = &simulator->config;
    char host[128];

    snprintf(host, sizeof host, "kms.%s.amazonaws.com", config->region);
    /* Whoever verifies it goes by the real time. */
    simulator->tls = sim_tls_open(config->directory, config->host ? config->host : host, time(NULL), err);
    if (!simulator->tls) {
        return -EIO;
    }
    int rv = sim_service_start(&simulator->kms_service, config->kms_listen, simulator->stop, simulator->tls,
                               serve_kms, &simulator->kms, err);
    simulator->kms_serves = rv == 0;
    return rv;
}

static int start_control(struct sim_simulator *simulator, struct error *err)
{
    simulator->control = (struct sim_control){.kms = &simulator->kms,
                                              .nsm_faults = &simulator->nsm_faults,
                                              .clock = &simulator->clock};
    int rv = sim_service_start(&simulator->control_service, simulator->config.control, simulator->stop, NULL,
                               serve_control, &simulator->control, err);
    simulator->control_serves = rv == 0;
    return rv;
}

/* The credentials that are asked for, or the first. */
static const struct sim_credential *choose_credential(const struct sim_simulator *simulator)
{
    const struct sim_credentials *all = &simulator->kms.credentials;
    const char *wanted = simulator->config.metadata_key;

    for (size_t i = 0; i < all->count; i++) {
        if (!wanted || strcmp(all->list[i].access_key_id, wanted) == 0) {
            return &all->list[i];
        }
    }
    return NULL;
}

static int start_metadata(struct sim_simulator *simulator, struct error *err)
{
    struct sim_metadata *metadata = &simulator->metadata;

    *metadata = (struct sim_metadata){.credential = choose_credential(simulator),
                                      .clock = &simulator->clock,
                                      .region = simulator->config.region};
    if (!metadata->credential || sim_metadata_init(metadata) != 0) {
        return error_set(err, -EINVAL, "metadata: there are no credentials to hand out");
    }
    int rv = sim_service_start(&simulator->metadata_service, simulator->config.metadata, simulator->stop,
                               NULL, serve_metadata, metadata, err);
    simulator->metadata_serves = rv == 0;
    return rv;
}

/* ---- The addresses ---- */

static json_t *nsm_addresses(const struct sim_simulator *simulator)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < simulator->seat_count; i++) {
        json_array_append_new(list, json_string(simulator->seats[i].service.address));
    }
    return list;
}

static int write_addresses(const struct sim_simulator *simulator, struct error *err)
{
    json_t *all = json_pack("{s:s*, s:s*, s:s*, s:o}", "kms",
                            simulator->kms_serves ? simulator->kms_service.address : NULL, "control",
                            simulator->control_serves ? simulator->control_service.address : NULL, "metadata",
                            simulator->metadata_serves ? simulator->metadata_service.address : NULL, "nsm",
                            nsm_addresses(simulator));
    char *text = all ? json_dumps(all, JSON_INDENT(1)) : NULL;
    int rv = text ? sim_file_write(simulator->config.directory, "addresses.json", text, strlen(text), err)
                  : error_set(err, -ENOMEM, "cannot write addresses.json: out of memory");

    free(text);
    json_decref(all);
    return rv;
}

/* ---- All of it ---- */

static int prepare(struct sim_simulator *simulator, struct error *err)
{
    const struct sim_config *config = &simulator->config;

    if (config->now != 0) {
        atomic_store(&simulator->clock.offset_ms, (config->now - time(NULL)) * 1000);
    }
    if (mkdir(config->directory, 0700) != 0 && errno != EEXIST) {
        return error_errno(err, -errno, "cannot make the directory %s", config->directory);
    }
    simulator->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (simulator->stop < 0 || sim_faults_init(&simulator->nsm_faults) != 0) {
        return error_errno(err, -errno, "cannot start");
    }
    int rv = open_chains(simulator, err);
    return rv == 0 ? open_kms(simulator, err) : rv;
}

static int start_seats(struct sim_simulator *simulator, struct error *err)
{
    int rv = 0;

    for (size_t i = 0; rv == 0 && i < simulator->config.nsm_count; i++) {
        rv = sim_seat_start(&simulator->seats[i], simulator, &simulator->config.nsms[i], err);
        simulator->seat_count += rv == 0;
    }
    return rv;
}

int sim_start(struct sim_simulator *simulator, struct error *err)
{
    const struct sim_config *config = &simulator->config;

    simulator->stop = -1;
    int rv = prepare(simulator, err);
    rv = rv == 0 && config->kms_listen ? start_kms(simulator, err) : rv;
    rv = rv == 0 && config->control ? start_control(simulator, err) : rv;
    rv = rv == 0 && config->metadata ? start_metadata(simulator, err) : rv;
    rv = rv == 0 ? start_seats(simulator, err) : rv;
    return rv == 0 ? write_addresses(simulator, err) : rv;
}

static void stop_services(struct sim_simulator *simulator)
{
    uint64_t one = 1;

    if (simulator->stop >= 0 && write(simulator->stop, &one, sizeof one) != sizeof one) {
        abort(); /* a counter of 0 takes 1 */
    }
    for (size_t i = 0; i < simulator->seat_count; i++) {
        sim_service_stop(&simulator->seats[i].service);
        sim_nsm_release(&simulator->seats[i].nsm);
    }
    if (simulator->kms_serves) {
        sim_service_stop(&simulator->kms_service);
    }
    if (simulator->control_serves) {
        sim_service_stop(&simulator->control_service);
    }
    if (simulator->metadata_serves) {
        sim_service_stop(&simulator->metadata_service);
    }
}

void sim_stop(struct sim_simulator *simulator)
{
    stop_services(simulator);
    if (simulator->kms.region) {
        sim_kms_release(&simulator->kms);
    }
    SSL_CTX_free(simulator->tls);
    sim_chain_close(&simulator->chain);
    sim_chain_close(&simulator->other);
    if (simulator->stop >= 0) {
        sim_faults_release(&simulator->nsm_faults);
        close(simulator->stop);
    }
    sim_config_release(&simulator->config);
}
