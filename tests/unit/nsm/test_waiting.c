/* Who waits for whom at the NSM, and for how long. */
#include "nsm/call.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* An Attestation that holds a document of one byte. */
static const char answer[] = "\xa1\x6b"
                             "Attestation\xa1\x68"
                             "document\x41\x01";

static struct nsm *nsm;
static struct error err;
static uint8_t document[NSM_RESPONSE_MAX];
static size_t size;
static const struct nsm_attest_request nothing;
static uint64_t told_deadline;
static int began[2], go_on[2]; /* pipes */

static int slow_ask(void *user, const uint8_t *request, size_t asked, uint64_t deadline,
                    uint8_t response[NSM_RESPONSE_MAX], size_t *ret_size, struct error *why)
{
    char byte = 0;

    (void)user;
    (void)request;
    (void)asked;
    (void)why;
    assert_int_equal(write(began[1], &byte, 1), 1);
    assert_int_equal(read(go_on[0], &byte, 1), 1);
    told_deadline = deadline;
    memcpy(response, answer, sizeof(answer) - 1);
    *ret_size = sizeof(answer) - 1;
    return 0;
}

static void way_close(void *user)
{
    (void)user;
}

static void *ask_in_a_thread(void *result)
{
    uint8_t told[NSM_RESPONSE_MAX];
    struct error why;
    size_t length;

    *(int *)result = nsm_attest(nsm, &nothing, told, &length, &why);
    return NULL;
}

static uint64_t in_ms(unsigned left)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + left;
}

/* One that hangs holds up nobody for longer than they want to wait. */
static void test_waiting_for_another(void **state)
{
    const struct nsm_way way = {.ask = slow_ask, .close = way_close};
    pthread_t first, second;
    int results[2] = {1, 1};
    char byte;

    (void)state;
    assert_int_equal(pipe(began) || pipe(go_on), 0);
    assert_int_equal(nsm_open_way(&way, &nsm), 0);
    assert_int_equal(pthread_create(&first, NULL, ask_in_a_thread, &results[0]), 0);
    assert_int_equal(read(began[0], &byte, 1), 1);
    assert_int_equal(nsm_attest_until(nsm, &nothing, in_ms(20), document, &size, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "the time for Attestation is over"));
    assert_int_equal(nsm_attest_until(nsm, &nothing, 0, document, &size, &err), -ETIMEDOUT);
    assert_int_equal(pthread_create(&second, NULL, ask_in_a_thread, &results[1]), 0);
    assert_int_equal(write(go_on[1], "12", 2), 2);
    assert_int_equal(pthread_join(first, NULL), 0);
    assert_int_equal(pthread_join(second, NULL), 0);
    assert_true(results[0] == 0 && results[1] == 0);
    assert_int_equal(told_deadline, NSM_NEVER);
    uint64_t deadline = in_ms(60000);
    assert_int_equal(write(go_on[1], "3", 1), 1);
    assert_int_equal(nsm_attest_until(nsm, &nothing, deadline, document, &size, &err), 0);
    assert_int_equal(told_deadline, deadline);
    nsm_close(nsm);
    for (int i = 0; i < 2; i++) {
        close(began[i]);
        close(go_on[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waiting_for_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
