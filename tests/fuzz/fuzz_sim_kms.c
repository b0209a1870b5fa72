/*
 * The first byte chooses an operation of the simulated KMS's, the rest is the body of a request to it, as if it were signed: either an
 * answer comes, or an error with a name. The same bytes as an Authorization header, too.
 */
#include "sim/kms_call.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Without those that make keys, which takes long. */
static const char *const names[] = {"Decrypt",
                                    "DeriveSharedSecret",
                                    "DescribeKey",
                                    "Encrypt",
                                    "GenerateDataKey",
                                    "GenerateDataKeyWithoutPlaintext",
                                    "GenerateRandom",
                                    "GetKeyPolicy",
                                    "GetPublicKey",
                                    "ListKeys",
                                    "PutKeyPolicy",
                                    "ReEncrypt",
                                    "ScheduleKeyDeletion",
                                    "CreateAlias"};

static char access_key_id[] = "AKID", principal[] = "arn:aws:iam::111122223333:role/app",
            all_of_kms[] = "kms:*";
static char *every[] = {all_of_kms, NULL};
static const struct sim_credential caller = {.access_key_id = access_key_id,
                                             .principal = principal,
                                             .actions = every};
static struct sim_clock its_time;
static struct sim_kms kms = {.region = "us-east-1",
                             .account = "111122223333",
                             .directory = "/nonexistent",
                             .clock = &its_time};

static void add_key(const char *id, const char *spec, const char *usage)
{
    struct sim_key *key;
    struct error err;

    if (sim_keys_add(&kms.keys,
                     &(struct sim_key_wanted){.id = id, .spec = sim_spec_find(spec), .usage = usage}, 1, &key,
                     &err) != 0) {
        abort();
    }
}

static void set_up(void)
{
    if (sim_kms_init(&kms) != 0) {
        abort();
    }
    add_key("data", SIM_SPEC_SYMMETRIC, "ENCRYPT_DECRYPT");
    add_key("agree", "ECC_NIST_P256", "KEY_AGREEMENT");
}

static void run(const struct sim_operation_entry *entry, json_t *body)
{
    struct sim_call *call = calloc(1, sizeof *call);

    if (!call) {
        abort();
    }
    call->kms = &kms;
    call->caller = &caller;
    call->operation = entry->name;
    call->in = body;
    call->out = json_object();
    int rv = entry->takes_recipient
                 ? sim_attested_read(json_object_get(body, "Recipient"), kms.root, sim_now(&its_time),
                                     &kms.verified, &call->attested, &call->error)
                 : 0;
    rv = rv == 0 ? entry->run(call) : rv;
    if ((rv == 0) != (call->error.type == NULL)) {
        abort();
    }
    sim_attested_release(&call->attested);
    json_decref(call->in);
    json_decref(call->out);
    free(call);
}

static void read_header(const uint8_t *data, size_t size)
{
    struct sim_authorization found;
    char text[4096];

    if (size < sizeof text) {
        memcpy(text, data, size);
        text[size] = '\0';
        if (sim_authorization_read(text, &found) && (!found.signature || !found.service)) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_error_t why;

    if (!kms.calls) {
        set_up();
    }
    if (size == 0) {
        return 0;
    }
    read_header(data, size);
    json_t *body = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(body)) {
        run(sim_operation_find(names[data[0] % ARRAY_SIZE(names)]), body);
    } else {
        json_decref(body);
    }
    return 0;
}
