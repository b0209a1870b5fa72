/* Templates: what is one, what becomes of it, and that values stay secret. */
#include "fault.h"
#include "http/template.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct values {
    const char *value; /* NULL: the name of the variable and its argument */
    size_t size;
    int code; /* what is returned instead */
};

static int get_value(void *data, enum http_variable kind, const char *name, struct text *out,
                     struct error *err)
{
    static const char *const words[] = {"enclave", "cid", "route", "request_id", "env", "file", "credential"};
    const struct values *values = data;
    if (values->code != 0) {
        return error_errno(err, values->code, "cannot read it");
    }
    if (values->value != NULL) {
        text_add_bytes(out, values->value, values->size > 0 ? values->size : strlen(values->value));
    } else {
        text_addf(out, "<%s %s>", words[kind], name);
    }
    return 0;
}

static int expand(const char *text, struct values *values, struct text *out, struct error *err)
{
    struct http_provider provider = {.get = get_value, .data = values};
    struct http_template tmpl;
    int r = http_template_parse(&tmpl, text, err);
    if (r == 0) {
        r = http_template_expand(&tmpl, &provider, out, err);
    }
    http_template_release(&tmpl);
    return r;
}

static void templates_are_expanded(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
    } samples[] = {
        {"", ""},
        {"plain text", "plain text"},
        {"${enclave}", "<enclave >"},
        {"a ${cid} b ${route} c", "a <cid > b <route > c"},
        {"${request_id}${request_id}", "<request_id ><request_id >"},
        {"Bearer ${env:TOKEN_1}", "Bearer <env TOKEN_1>"},
        {"${file:/etc/a b:c}", "<file /etc/a b:c>"},
        {"${credential:a.b-c_1}", "<credential a.b-c_1>"},
        {"$", "$"},
        {"$$ {cid} $x", "$$ {cid} $x"},
        {"$${cid}", "${cid}"},
        {"a$${b", "a${b"},
        {"$$${cid}", "$${cid}"},
        {"x}", "x}"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct values values = {.value = NULL};
        struct text out = TEXT_INIT;
        struct error err = ERROR_INIT;
        assert_int_equal(expand(samples[i].text, &values, &out, &err), 0);
        assert_string_equal(text_string(&out), samples[i].value);
        text_release(&out);
    }
}

static void others_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } samples[] = {
        {"${nonsense}", "is no variable"},
        {"${}", "is no variable"},
        {"${Enclave}", "is no variable"},
        {"${cid", "closing brace"},
        {"${cid:}", "takes nothing"},
        {"${enclave:x}", "takes nothing"},
        {"${env}", "expected env:NAME"},
        {"${env:}", "expected env:NAME"},
        {"${env:1A}", "expected env:NAME"},
        {"${env:A-B}", "expected env:NAME"},
        {"${env:A B}", "expected env:NAME"},
        {"${env:A$}", "expected env:NAME"},
        {"${file:}", "expected file:/PATH"},
        {"${file:/}", "expected file:/PATH"},
        {"${file:etc/a}", "expected file:/PATH"},
        {"${credential:}", "expected credential:NAME"},
        {"${credential:../a}", "expected credential:NAME"},
        {"${credential:.a}", "expected credential:NAME"},
        {"${credential:a/b}", "expected credential:NAME"},
        {"${credential:a~}", "expected credential:NAME"},
        {"a\nb", "control characters"},
        {"a\tb", "control characters"},
        {"a\x7f", "control characters"},
        {"${file:/a\nb}", "control characters"},
        {"a\xc3\xa4", "ASCII"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
        struct http_template tmpl;
        struct error err = ERROR_INIT;
        assert_int_equal(http_template_parse(&tmpl, samples[i].text, &err), -EINVAL);
        if (strstr(err.text, samples[i].why) == NULL) {
            fail_msg("%s: %s, expected %s", samples[i].text, err.text, samples[i].why);
        }
        http_template_release(&tmpl);
    }
}

static void parts_have_a_bound(void **state)
{
    (void)state;
    for (unsigned count = HTTP_TEMPLATE_PARTS_MAX; count <= HTTP_TEMPLATE_PARTS_MAX + 1; count++) {
        struct text text = TEXT_INIT;
        struct http_template tmpl;
        for (unsigned i = 0; i < count; i++) {
            text_add(&text, "${cid}");
        }
        int r = http_template_parse(&tmpl, text_string(&text), NULL);
        assert_int_equal(r, count > HTTP_TEMPLATE_PARTS_MAX ? -EINVAL : 0);
        http_template_release(&tmpl);
        text_release(&text);
    }
}

/* The value is nowhere in the error. */
static void check_bad(const char *text, struct values *values, int code, const char *why)
{
    struct text out = TEXT_INIT;
    struct error err = ERROR_INIT;
    assert_int_equal(expand(text, values, &out, &err), code);
    if (strstr(err.text, why) == NULL || strstr(err.text, "secret") != NULL) {
        fail_msg("%s: %s, expected %s", text, err.text, why);
    }
    text_release(&out);
}

static void values_are_checked(void **state)
{
    (void)state;
    static const char *const bad[] = {"secret\n\n", "secret\r\n", "\nsecret",   "sec\nret",
                                      "secret\r",   "secret\x01", "secret\x7f", "secret\xc3\xa4"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct values values = {.value = bad[i]};
        check_bad("Bearer ${file:/t}", &values, -EINVAL, "${file:/t} has a byte that no header may have");
        check_bad("${credential:t}", &values, -EINVAL, "${credential:t} has a byte");
    }
    struct values nul = {.value = "sec\0ret", .size = 7};
    check_bad("${file:/t}", &nul, -EINVAL, "has a byte");
    struct values newline = {.value = "secret\n"};
    check_bad("${env:T}", &newline, -EINVAL, "${env:T} has a byte");
    struct values empty = {.value = ""};
    check_bad("${enclave}", &empty, -EINVAL, "${enclave} is empty");
    struct values blank = {.value = "\n"};
    check_bad("${file:/t}", &blank, -EINVAL, "${file:/t} is empty");
    struct values missing = {.code = -ENOENT};
    check_bad("${file:/t}", &missing, -ENOENT, "${file:/t}: cannot read it: No such file");
}

static void one_newline_at_the_end_of_a_file_is_none(void **state)
{
    (void)state;
    struct values values = {.value = "secret\n"};
    struct text out = TEXT_INIT;
    assert_int_equal(expand("a ${file:/t}", &values, &out, NULL), 0);
    assert_string_equal(text_string(&out), "a secret");
    text_clear(&out);
    assert_int_equal(expand("${credential:t}b", &values, &out, NULL), 0);
    assert_string_equal(text_string(&out), "secretb");
    text_release(&out);
}

static void a_value_has_a_bound(void **state)
{
    (void)state;
    static char large[HTTP_TEMPLATE_VALUE_MAX + 1];
    memset(large, 'a', sizeof large);
    for (size_t size = HTTP_TEMPLATE_VALUE_MAX; size <= sizeof large; size++) {
        struct values values = {.value = large, .size = size};
        struct text out = TEXT_INIT;
        text_add(&out, "before");
        assert_int_equal(expand("${env:A}", &values, &out, NULL), size == sizeof large ? -EMSGSIZE : 0);
        text_release(&out);
    }
}

static void a_variable_is_looked_for(void **state)
{
    (void)state;
    struct http_template tmpl;
    assert_int_equal(http_template_parse(&tmpl, "a ${file:/x}", NULL), 0);
    assert_true(http_template_has(&tmpl, HTTP_VARIABLE_FILE));
    assert_false(http_template_has(&tmpl, HTTP_VARIABLE_ENCLAVE));
    http_template_release(&tmpl);
}

static void secrets_are_told_from_what_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool secret;
    } cases[] = {{"a", false},         {"${cid}", false},      {"${request_id}", false},
                 {"a ${env:X}", true}, {"${file:/x} b", true}, {"${cid} ${credential:x}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_template tmpl;
        assert_int_equal(http_template_parse(&tmpl, cases[i].text, NULL), 0);
        assert_int_equal(http_template_has_secret(&tmpl), cases[i].secret);
        http_template_release(&tmpl);
    }
}

static void run(void *arg)
{
    struct values values = {.value = NULL};
    struct text out = TEXT_INIT;
    (void)arg;
    int r = expand("a $${b ${cid} ${env:X}", &values, &out, NULL);
    assert_true(r == 0 || r == -ENOMEM);
    if (r == 0) {
        assert_string_equal(text_string(&out), "a ${b <cid > <env X>");
    }
    text_release(&out);
}

static void memory_fails(void **state)
{
    (void)state;
    assert_true(fault_loop("http template", FAULT_MEMORY, run, NULL) >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_expanded),
        cmocka_unit_test(others_are_refused),
        cmocka_unit_test(parts_have_a_bound),
        cmocka_unit_test(values_are_checked),
        cmocka_unit_test(one_newline_at_the_end_of_a_file_is_none),
        cmocka_unit_test(a_value_has_a_bound),
        cmocka_unit_test(a_variable_is_looked_for),
        cmocka_unit_test(secrets_are_told_from_what_is_none),
        cmocka_unit_test(memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
