/* For the tests of addresses: one that must parse, and long texts. */
#ifndef PARSED_ADDR_H
#define PARSED_ADDR_H

#include "net/addr.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define TEN   "0123456789"
#define FIFTY TEN TEN TEN TEN TEN

static struct addr parsed(const char *text)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    if (addr_parse(text, &addr, &err) != 0) {
        fail_msg("%s: %s", text, err.text);
    }
    assert_string_equal(err.text, "");
    return addr;
}

#endif
