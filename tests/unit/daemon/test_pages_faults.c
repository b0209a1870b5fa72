/* Every allocation, and every look at a file, behind the pages made to fail once. */
#include "daemon/admin.h"
#include "fake_control.h"
#include "fault.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct server server;

static void ask(void *data)
{
    char request[128];
    struct http_message message;
    struct http_answer response = {.status = 200};
    int size = snprintf(request, sizeof request, "%s HTTP/1.0\r\n\r\n", (const char *)data);
    http_message_init(&message, HTTP_MESSAGE_REQUEST, 1024, 1024);
    text_init(&response.body, 0);
    if (http_message_feed(&message, request, (size_t)size) > 0) {
        admin_answer(&server, ADMIN_ROLE_ADMIN, &message, &response);
        assert_true(response.body.failed || response.body.length > 0);
    }
    text_release(&response.body);
    http_message_release(&message);
}

static void every_page(void **state)
{
    (void)state;
    static char requests[][48] = {"GET /metrics", "GET /status",  "GET /healthz",           "GET /readyz",
                                  "GET /nothing", "POST /reload", "POST /drain?deadline=1s"};
    assert_true(fake_init(&server));
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        unsigned calls = FAULT_MEMORY | FAULT_OPEN | FAULT_FILE;
        assert_true(fault_loop(requests[i], calls, ask, requests[i]) >= 2);
        assert_true(fault_loop(requests[i], calls | FAULT_STICKY, ask, requests[i]) >= 2);
    }
    fake_release(&server);
}

static void make_counters(void *data)
{
    (void)data;
    struct counters counters;
    counters_init(&counters);
    struct route_counters *route = counters_route(&counters, "kms");
    if (route != NULL) {
        assert_ptr_equal(counters_route(&counters, "kms"), route);
    }
    (void)counters_enclave(&counters, "payroll");
    (void)counters_listener(&counters, "kms-raw");
    counters_release(&counters);
}

static void counters(void **state)
{
    (void)state;
    assert_int_equal(fault_loop("counters", FAULT_MEMORY, make_counters, NULL), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page),
        cmocka_unit_test(counters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
