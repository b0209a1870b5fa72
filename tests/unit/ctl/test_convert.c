/* posternctl convert-allowlist: what is made of a list, and that the daemon takes it. */
#include "base/compiler.h"
#include "base/text.h"
#include "config/config.h"
#include "config/policy.h"
#include "fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "run_ctl.h"

static char list_path[] = "/tmp/convert-XXXXXX";

static void write_list(const char *text)
{
    FILE *file = fopen(list_path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

static struct ran convert_text(const char *text)
{
    struct ran ran;
    write_list(text);
    run_ctl(&ran, "convert-allowlist", list_path, NULL);
    return ran;
}

/* The configuration made, as the daemon reads it. */
static struct config *converted(const char *text)
{
    struct ran ran = convert_text(text);
    struct config *config = NULL;
    struct diags diags;
    assert_string_equal(ran.err, "");
    assert_int_equal(ran.code, CTL_DONE);
    diags_init(&diags, "made");
    assert_int_equal(config_parse("made", ran.out, strlen(ran.out), &config, &diags), 0);
    diags_release(&diags);
    ran_release(&ran);
    return config;
}

static const struct config_route *route(const struct config *config, const char *name)
{
    for (unsigned i = 0; i < config->route_count; i++) {
        if (strcmp(config->routes[i].name, name) == 0) {
            return &config->routes[i];
        }
    }
    fail_msg("no route %s", name);
    return NULL;
}

static void test_tls_servers_share_a_listener(void **state)
{
    (void)state;
    struct config *config = converted("allowlist:\n"
                                      "- {address: kms.us-east-1.amazonaws.com, port: 443}\n"
                                      "- {address: KMS.eu-west-1.amazonaws.com., port: 443}\n"
                                      "- {address: kms.us-east-1.amazonaws.com, port: 443}\n");
    assert_int_equal(config->listener_count, 1);
    const struct config_listener *listener = &config->listeners[0];
    assert_int_equal(listener->listen.kind, ADDR_VSOCK);
    assert_int_equal(listener->listen.cid, ADDR_CID_PARENT);
    assert_int_equal(listener->listen.port, 8000);
    assert_true(listener->allow_any);

    const struct config_route *common = &config->routes[listener->route];
    assert_string_equal(common->name, "allowlist");
    assert_int_equal(common->to_kind, CONFIG_TO_SNI);
    assert_int_equal(common->port, 443);
    assert_int_equal(common->sni_count, 2);
    assert_non_null(policy_sni(common, "kms.eu-west-1.amazonaws.com"));
    assert_null(policy_sni(common, "kms.eu-west-2.amazonaws.com"));
    assert_false(common->allow_private);

    assert_int_equal(config->route_count, 3);
    const struct config_route *one = route(config, "kms-us-east-1-amazonaws-com");
    assert_string_equal(one->to.host, "kms.us-east-1.amazonaws.com");
    assert_int_equal(one->sni_count, 1);
    config_unref(config);
}

static void test_other_servers_have_a_port_each(void **state)
{
    (void)state;
    struct config *config = converted("allowlist:\n"
                                      "- {address: db.example.com, port: 5432}\n"
                                      "- {address: kms.example.com, port: 443}\n"
                                      "- {address: 10.0.0.1, port: 443}\n"
                                      "- {address: '2001:db8::1', port: 80}\n");
    assert_int_equal(config->listener_count, 4);
    assert_int_equal(config->listeners[1].listen.port, 8001);
    assert_string_equal(config->routes[config->listeners[1].route].name, "db-example-com-5432");
    assert_int_equal(route(config, "db-example-com-5432")->sni_count, 0);
    assert_int_equal(config->listeners[3].listen.port, 8003);
    assert_true(route(config, "10-0-0-1")->to.literal);
    assert_int_equal(route(config, "2001-db8-1-80")->to.port, 80);
    config_unref(config);

    config = converted("allowlist: [{address: db.example.com, port: 5432}]\n");
    assert_int_equal(config->listener_count, 1);
    assert_int_equal(config->listeners[0].listen.port, 8000);
    config_unref(config);
}

static void test_names_are_unique_and_valid(void **state)
{
    (void)state;
    char list[2048];
    char longest[200] = "";
    for (int i = 0; i < 12; i++) {
        strcat(longest, "0123456789abcde.");
    }
    snprintf(list, sizeof(list),
             "allowlist:\n"
             "- {address: a.b, port: 443}\n- {address: a-b, port: 443}\n- {address: a-b-2, port: 443}\n"
             "- {address: allowlist, port: 443}\n- {address: 'null', port: 443}\n- {address: _a, port: 443}\n"
             "- {address: '::', port: 443}\n- {address: '::', port: 80}\n"
             "- {address: %sx, port: 443}\n- {address: %sy, port: 443}\n- {address: %sx, port: 65535}\n",
             longest, longest, longest);
    struct config *config = converted(list);
    assert_int_equal(config->route_count, 12);
    assert_string_equal(route(config, "a-b")->to.host, "a.b");
    assert_string_equal(route(config, "a-b-2")->to.host, "a-b");
    assert_string_equal(route(config, "a-b-2-3")->to.host, "a-b-2");
    assert_string_equal(route(config, "allowlist-4")->to.host, "allowlist");
    assert_string_equal(route(config, "null-5")->to.host, "null");
    assert_string_equal(route(config, "server")->to.host, "::");
    assert_int_equal(route(config, "server-80")->to.port, 80);
    config_unref(config);
}

static void test_the_first_port_can_be_chosen(void **state)
{
    struct ran ran;
    (void)state;
    write_list("allowlist: [{address: a.example, port: 443}]\n");
    run_ctl(&ran, "convert-allowlist", "--listen-port", "9000", list_path, NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_non_null(strstr(ran.out, "    listen: vsock://parent:9000\n"));
    ran_release(&ran);
    run_ctl(&ran, "convert-allowlist", list_path, "--listen-port=9001", NULL);
    assert_non_null(strstr(ran.out, "    listen: vsock://parent:9001\n"));
    ran_release(&ran);
}

static void assert_fails(struct ran *ran, int code, const char *message)
{
    assert_int_equal(ran->code, code);
    assert_string_equal(ran->out, "");
    if (strstr(ran->err, message) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", ran->err, message);
    }
    ran_release(ran);
}

static void test_usage(void **state)
{
    static const char *const bad_ports[] = {"0", "-1", "x", "4294967295"};
    struct ran ran;
    (void)state;
    run_ctl(&ran, "convert-allowlist", NULL);
    assert_fails(&ran, CTL_USAGE, "expected one FILE");
    run_ctl(&ran, "convert-allowlist", "a", "b", NULL);
    assert_fails(&ran, CTL_USAGE, "expected one FILE");
    run_ctl(&ran, "convert-allowlist", "--bogus", "a", NULL);
    assert_fails(&ran, CTL_USAGE, "--bogus is no option here");
    for (size_t i = 0; i < ARRAY_SIZE(bad_ports); i++) {
        run_ctl(&ran, "convert-allowlist", "a", "--listen-port", bad_ports[i], NULL);
        assert_fails(&ran, CTL_USAGE, ": expected a vsock port, such as 8000");
    }
    run_ctl(&ran, "convert-allowlist", "--help", NULL);
    assert_int_equal(ran.code, CTL_DONE);
    assert_non_null(strstr(ran.out, "usage: posternctl convert-allowlist FILE [--listen-port PORT]\n"));
    ran_release(&ran);
}

static void test_every_mistake_is_told(void **state)
{
    (void)state;
    struct ran ran = convert_text("allowlist:\n- {address: '*.example', port: 443}\n- {port: 1}\n"
                                  "- {address: a.example, port: 70000}\n- {address: a.example, port: 443}\n");
    assert_non_null(strstr(ran.err, ":2:3: \"tcp://*.example:443\": "));
    assert_non_null(strstr(ran.err, ":3:3: expected `address:`"));
    assert_non_null(strstr(ran.err, ":4:3: expected `port:`"));
    assert_fails(&ran, CTL_FAILED, ": correct or remove these entries first\n");
}

static void test_lists_that_cannot_be_converted(void **state)
{
    struct text many = TEXT_INIT;
    struct ran ran;
    (void)state;
    run_ctl(&ran, "convert-allowlist", "/nonexistent/list.yaml", NULL);
    assert_fails(
        &ran, CTL_FAILED,
        "posternctl: Could not open the file: /nonexistent/list.yaml: No such file or directory; name the "
        "allowlist that you have, or write one there: see vsock-proxy(8)\n");
    ran = convert_text("allowlist: []\n");
    assert_fails(&ran, CTL_FAILED, ": it has no entries\n");
    text_add(&many, "e: &e {address: a.example, port: 443}\nallowlist:\n");
    for (int i = 0; i < 4097; i++) {
        text_add(&many, "- *e\n");
    }
    ran = convert_text(text_string(&many));
    assert_fails(&ran, CTL_FAILED, ": it has more than 4096 entries");
    text_release(&many);
}

/* More than the daemon's reader takes. */
static void test_a_configuration_that_would_be_refused_is_not_printed(void **state)
{
    struct text many = TEXT_INIT;
    (void)state;
    text_add(&many, "allowlist:\n");
    for (int i = 0; i < 3000; i++) {
        text_addf(&many, "- {address: %060d.%060d.%060d.x, port: 443}\n", i, i, i);
    }
    struct ran ran = convert_text(text_string(&many));
    text_release(&many);
    assert_fails(&ran, CTL_FAILED, ": posternd would refuse what comes of it\n");
}

static void convert_once(void *arg)
{
    char *argv[] = {list_path, list_path, NULL};
    struct ctl ctl = {.out = arg, .err = arg};
    optind = 0;
    int code = ctl_convert_allowlist(&ctl, 2, argv);
    assert_true(code == CTL_DONE || code == CTL_FAILED);
}

static void test_failing_calls(void **state)
{
    FILE *nowhere = fopen("/dev/null", "w");
    (void)state;
    assert_non_null(nowhere);
    write_list("allowlist:\n- {address: a.example, port: 443}\n- {address: db.example, port: 5432}\n");
    assert_true(fault_loop("convert-allowlist", FAULT_MEMORY, convert_once, nowhere) >= 50);
    assert_int_equal(fault_loop("convert-allowlist files", FAULT_OPEN | FAULT_READ, convert_once, nowhere),
                     3);
    fclose(nowhere);
}

static int make_list(void **state)
{
    (void)state;
    int fd = mkstemp(list_path);
    return fd >= 0 ? close(fd) : -1;
}

static int remove_list(void **state)
{
    (void)state;
    return unlink(list_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls_servers_share_a_listener),
        cmocka_unit_test(test_other_servers_have_a_port_each),
        cmocka_unit_test(test_names_are_unique_and_valid),
        cmocka_unit_test(test_the_first_port_can_be_chosen),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_every_mistake_is_told),
        cmocka_unit_test(test_lists_that_cannot_be_converted),
        cmocka_unit_test(test_a_configuration_that_would_be_refused_is_not_printed),
        cmocka_unit_test(test_failing_calls),
    };
    return cmocka_run_group_tests(tests, make_list, remove_list);
}
