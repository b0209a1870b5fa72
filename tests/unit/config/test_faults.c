/* Every allocation and every system call of reading a configuration, failed once. */
#include "base/text.h"
#include "config/config.h"
#include "config/keys.h"
#include "fault.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct scenario {
    const char *path;
    int verdict; /* when nothing fails */
};

/* A file with mistakes is refused whatever fails; one without is accepted, or it is told why not. */
static void load(void *arg)
{
    const struct scenario *scenario = arg;
    struct text said = TEXT_INIT;
    struct diags diags;
    struct config *config = NULL;
    diags_init(&diags, scenario->path);
    int r = config_load(scenario->path, &config, &diags);
    assert_int_equal(r == 0, config != NULL);
    assert_int_equal(r == 0, diags.total == 0);
    if (r != 0 && r != scenario->verdict) {
        assert_true(r == -ENOMEM || r == -EMFILE || r == -EIO);
    }
    if (scenario->verdict != 0) {
        assert_int_not_equal(r, 0);
    }
    if (r == 0) {
        config_unref(config_ref(config));
    }
    config_unref(config);
    diags_format(&diags, &said);
    text_release(&said);
    diags_release(&diags);
}

static struct scenario good = {TEST_DATA "/good/everything.yaml", 0};
static struct scenario framed = {TEST_DATA "/good/framed.yaml", 0};
static struct scenario http = {TEST_DATA "/good/http.yaml", 0};
static struct scenario bad[] = {
    {TEST_DATA "/bad/166-forward-url-parts.yaml", -EINVAL},
    {TEST_DATA "/bad/177-forward-headers-templates.yaml", -EINVAL},
    {TEST_DATA "/bad/190-forward-foreign.yaml", -EINVAL},
    {TEST_DATA "/bad/194-connect-hosts-twice.yaml", -EINVAL},
    {TEST_DATA "/bad/001-empty.yaml", -EINVAL},
    {TEST_DATA "/bad/017-unclosed-flow.yaml", -EINVAL},
    {TEST_DATA "/bad/027-alias.yaml", -EINVAL},
    {TEST_DATA "/bad/085-enclave-names.yaml", -EINVAL},
    {TEST_DATA "/bad/110-listener-same-tcp.yaml", -EINVAL},
    {TEST_DATA "/bad/124-route-sni-map.yaml", -EINVAL},
    {TEST_DATA "/bad/154-framed-twice.yaml", -EINVAL},
    {TEST_DATA "/bad/161-budget-for-streams.yaml", -EINVAL},
    {TEST_DATA "/bad/132-many-mistakes.yaml", -EINVAL},
    {TEST_DATA "/no-such-file.yaml", -ENOENT},
};

static void test_good(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_OPEN | FAULT_READ;
    (void)state;
    assert_true(fault_loop("config good", calls, load, &good) >= 300);
    assert_true(fault_loop("config good, sticky", calls | FAULT_STICKY, load, &good) >= 300);
    assert_true(fault_loop("config framed", calls, load, &framed) >= 100);
    assert_true(fault_loop("config http", calls, load, &http) >= 200);
}

static void test_bad(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_OPEN | FAULT_READ;
    unsigned long injected = 0;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        injected += fault_loop(bad[i].path + sizeof TEST_DATA, calls, load, &bad[i]);
        injected += fault_loop(bad[i].path + sizeof TEST_DATA, calls | FAULT_STICKY, load, &bad[i]);
    }
    assert_true(injected >= 1000);
}

static void make_new(void *arg)
{
    struct config *config = config_new("test");
    (void)arg;
    config_unref(config);
}

static void describe(void *arg)
{
    static void (*const makers[])(struct text *) = {config_describe, keys_markdown, keys_mdoc};
    (void)arg;
    for (size_t i = 0; i < ARRAY_SIZE(makers); i++) {
        struct text text = TEXT_INIT;
        makers[i](&text);
        assert_true(text.failed || text.length > 1000);
        text_release(&text);
    }
}

static void test_others(void **state)
{
    (void)state;
    assert_int_equal(fault_loop("config_new", FAULT_MEMORY, make_new, NULL), 3);
    assert_true(fault_loop("config documents", FAULT_MEMORY, describe, NULL) >= 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
