/* Requests to KMS: see kms.h. */
#include "iam/kms.h"
#include <stdio.h>
#include <string.h>

const char *const iam_kms_operations[IAM_KMS_OPERATIONS] = {
    "kms:Decrypt",        "kms:GenerateDataKey",    "kms:GenerateDataKeyPair",
    "kms:GenerateRandom", "kms:DeriveSharedSecret",
};

/* A document of an enclave says nothing of a TPM. */
static const char *const all_known[] = {IAM_KMS_ATTESTATION, NULL};
static const char *const some_known[] = {IAM_KMS_ATTESTATION "NitroTPMPCR", NULL};

/* And one of a TPM says nothing of an enclave. */
static const char *const enclave_known[] = {IAM_KMS_ATTESTATION "ImageSha384", IAM_KMS_ATTESTATION "PCR",
                                            NULL};

static void add_key(struct iam_kms_request *request, const char *name, const char *value, bool choosable)
{
    size_t index = request->request.key_count++;

    request->values[index] = value;
    request->keys[index] =
        (struct iam_key){.name = name, .values = &request->values[index], .count = 1, .choosable = choosable};
}

void iam_kms_request_init(struct iam_kms_request *request, const char *principal, const char *resource)
{
    memset(request, 0, sizeof *request);
    request->request = (struct iam_request){.principal = principal,
                                            .resource = resource,
                                            .keys = request->keys,
                                            .families = all_known};
    if (!principal || !iam_principal_account(principal, request->account)) {
        return;
    }
    add_key(request, "kms:CallerAccount", request->account, false);
    add_key(request, "aws:PrincipalAccount", request->account, false);
    /* Of a session it is the role's, whose path the session does not tell; of an account, anybody's in it. */
    if (!strstr(principal, ":sts:") && !iam_principal_is_account(principal)) {
        add_key(request, "aws:PrincipalArn", principal, false);
    }
}

void iam_kms_request_attested(struct iam_kms_request *request, bool whole)
{
    request->request.families = whole ? all_known : some_known;
}

void iam_kms_request_tpm(struct iam_kms_request *request)
{
    request->request.families = enclave_known;
}

void iam_kms_request_pcr(struct iam_kms_request *request, unsigned index, const char *hex, bool choosable)
{
    snprintf(request->names[index], sizeof request->names[index], IAM_KMS_ATTESTATION "PCR%u", index);
    add_key(request, request->names[index], hex, choosable);
    if (index == 0) {
        add_key(request, IAM_KMS_ATTESTATION "ImageSha384", hex, choosable);
    }
}
