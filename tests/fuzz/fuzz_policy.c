/* Any bytes as a key policy: refused with its mistakes, or evaluated, and then denied to whoever it does not know of. */
#include "iam/kms.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void evaluate(const struct iam_policy *policy, const char *principal, bool attested)
{
    struct iam_kms_request request;
    struct iam_verdict verdict;

    iam_kms_request_init(&request, principal, NULL);
    if (attested) {
        iam_kms_request_attested(&request, false);
        iam_kms_request_pcr(&request, 0, "00a1", true);
    }
    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        request.request.action = iam_kms_operations[i];
        iam_evaluate(policy, &request.request, &verdict);
        bool by_statement = verdict.decision == IAM_ALLOWED || verdict.decision == IAM_DENIED;
        if ((by_statement &&
             (verdict.statement >= policy->count ||
              policy->statements[verdict.statement].deny != (verdict.decision == IAM_DENIED))) ||
            (verdict.decision == IAM_UNKNOWN) != (verdict.why.text[0] != '\0')) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const principals[] = {"*", "arn:aws:iam::111122223333:role/app",
                                             "arn:aws:sts::111122223333:assumed-role/app/x", NULL};
    struct iam_policy policy;
    struct text mistakes = TEXT_INIT;
    int rv = iam_policy_read(&policy, (const char *)data, size, &mistakes);

    if ((rv == 0) != (mistakes.length == 0)) {
        abort();
    }
    for (size_t i = 0; rv == 0 && i < ARRAY_SIZE(principals); i++) {
        evaluate(&policy, principals[i], false);
        evaluate(&policy, principals[i], true);
    }
    if (rv == 0) {
        iam_policy_release(&policy);
    }
    text_release(&mistakes);
    return 0;
}
