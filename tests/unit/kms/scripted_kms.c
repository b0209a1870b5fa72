/* A KMS for tests: see scripted_kms.h. */
#include "scripted_kms.h"

#include "fault.h"
#include "kms/attested.h"
#include "kms/secret.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct scripted_kms scripted_kms;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int secrets;

int __wrap_kms_call(struct postern_kms *kms, const char *operation, const json_t *request, uint64_t deadline,
                    struct kms_answer *ret, struct error *err);
int __wrap_kms_attested_call(struct postern_kms *kms, const char *operation, json_t *request,
                             uint64_t deadline, struct kms_answer *ret, struct postern_secret *ret_secret,
                             struct error *err);
uint64_t __wrap_kms_deadline(const struct postern_kms *kms, uint32_t timeout_ms);
int __wrap_secret_new(size_t length, struct postern_secret *ret);
int __real_secret_new(size_t length, struct postern_secret *ret);
void __wrap_postern_secret_wipe(struct postern_secret *secret);
void __real_postern_secret_wipe(struct postern_secret *secret);

void scripted_kms_reset(void)
{
    scripted_kms = (struct scripted_kms){.status = 200, .body = "{}", .secret = "secret", .error = ""};
}

int scripted_kms_secrets(void)
{
    return secrets;
}

/* It shares malloc() with what is tested; what is its own does not fail. */
static int answer(const char *operation, const json_t *request, bool attested, struct kms_answer *ret,
                  struct error *err)
{
    char byte = 0;

    fault_spare(true);
    pthread_mutex_lock(&lock);
    scripted_kms.calls++;
    scripted_kms.attested = attested;
    snprintf(scripted_kms.operation, sizeof scripted_kms.operation, "%s", operation);
    char *text = json_dumps(request, JSON_COMPACT);
    snprintf(scripted_kms.request, sizeof scripted_kms.request, "%s", text);
    free(text);
    pthread_mutex_unlock(&lock);
    if (scripted_kms.began_fd &&
        (write(scripted_kms.began_fd, &byte, 1) != 1 || read(scripted_kms.go_on_fd, &byte, 1) != 1)) {
        abort();
    }
    *ret = (struct kms_answer){.status = scripted_kms.status, .unknown = scripted_kms.unknown};
    snprintf(ret->type, sizeof ret->type, "%s", scripted_kms.type ? scripted_kms.type : "");
    ret->body = scripted_kms.body ? json_loads(scripted_kms.body, 0, NULL) : NULL;
    fault_spare(false);
    return scripted_kms.result == 0 ? 0 : error_set(err, scripted_kms.result, "%s", scripted_kms.error);
}

int __wrap_kms_call(struct postern_kms *kms UNUSED, const char *operation, const json_t *request,
                    uint64_t deadline UNUSED, struct kms_answer *ret, struct error *err)
{
    return answer(operation, request, false, ret, err);
}

int __wrap_kms_attested_call(struct postern_kms *kms UNUSED, const char *operation, json_t *request,
                             uint64_t deadline UNUSED, struct kms_answer *ret,
                             struct postern_secret *ret_secret, struct error *err)
{
    int r = answer(operation, request, true, ret, err);

    if (r == 0 && __wrap_secret_new(strlen(scripted_kms.secret), ret_secret) != 0) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    if (r == 0) {
        memcpy(ret_secret->data, scripted_kms.secret, ret_secret->length);
    }
    return r;
}

uint64_t __wrap_kms_deadline(const struct postern_kms *kms UNUSED, uint32_t timeout_ms)
{
    return timeout_ms;
}

int __wrap_secret_new(size_t length, struct postern_secret *ret)
{
    int r = __real_secret_new(length, ret);

    secrets += r == 0;
    return r;
}

void __wrap_postern_secret_wipe(struct postern_secret *secret)
{
    secrets -= secret->data != NULL;
    __real_postern_secret_wipe(secret);
}
