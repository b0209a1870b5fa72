/* A request that an intake is to take, judged as far as its head: for the tests of intakes. */
#ifndef POSTERN_TESTS_INTAKE_HEAD_H
#define POSTERN_TESTS_INTAKE_HEAD_H

#include "forward/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* What an intake wants to outlive it. Ended by intake_head_release(). */
struct intake_head {
    struct http_rules rules;
    struct http_request request;
    struct http_values values;
    struct config_forward forward;
    struct config_route route;
};

static inline void intake_head_read(struct intake_head *head, const char *text)
{
    struct http_span piece;
    size_t used;

    memset(head, 0, sizeof *head);
    http_rules_init(&head->rules);
    http_request_init(&head->request, &head->rules);
    head->route.name = "results";
    head->route.forward = &head->forward;
    head->values =
        (struct http_values){.enclave = "payroll", .cid = 16, .route = "results", .request_id = "id-1"};
    assert_int_equal(http_request_read(&head->request, text, strlen(text), &used, &piece), HTTP_EVENT_HEAD);
}

static inline void intake_head_release(struct intake_head *head)
{
    http_request_release(&head->request);
    http_rules_release(&head->rules);
}

#endif
