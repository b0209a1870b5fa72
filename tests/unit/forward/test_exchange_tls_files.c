/* The files that exchanges over TLS take: trusted CAs, the route's own certificate and its key. */
#include "exchange_tls_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int want_certificate(int good, X509_STORE_CTX *store)
{
    (void)good;
    (void)store;
    return 1;
}

static void test_own_certificate(void **state)
{
    (void)state;
    struct certified own;
    authority_certify(&authority, "own", "DNS:postern.test", 86400, &own);
    bench.forward->cert_file = own.cert_file;
    bench.forward->key_file = own.key_file;
    SSL_CTX_set_verify(bench.tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, want_certificate);
    use_once();
    X509 *shown = SSL_get1_peer_certificate(far.ssl);
    assert_non_null(shown);
    X509_free(shown);
}

/* TLS 1.3: the alert comes after the client's side of the handshake is done. */
static void test_own_certificate_is_wanted(void **state)
{
    (void)state;
    SSL_CTX_set_verify(bench.tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, want_certificate);
    start(GET);
    far_accept(&bench, &far);
    wait_end();
    assert_int_equal(owner.why, HTTP_REFUSED_UPSTREAM_RESET);
    assert_non_null(strstr(owner.detail, "certificate required"));
}

static void assert_file_refused(const char *words)
{
    start(GET);
    assert_refused(HTTP_REFUSED_TLS_FILES, words);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_missing_file(void **state)
{
    (void)state;
    bench.forward->ca_file = "/nonexistent/ca.pem";
    assert_file_refused("cannot read /nonexistent/ca.pem: No such file");
}

static void test_file_of_nonsense(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/nonsense", authority.directory);
    write_file(path, "nonsense\n");
    bench.forward->ca_file = path;
    assert_file_refused("nonsense: no CA's certificate");
}

static void test_directory_as_file(void **state)
{
    (void)state;
    bench.forward->ca_file = authority.directory;
    assert_file_refused("is no regular file");
}

static void test_bad_own_certificate(void **state)
{
    (void)state;
    bench.forward->cert_file = certified.key_file;
    bench.forward->key_file = certified.key_file;
    assert_file_refused("server.key: no certificate");
}

static void test_key_of_another(void **state)
{
    (void)state;
    struct certified own;
    authority_certify(&authority, "one", "DNS:postern.test", 86400, &own);
    bench.forward->cert_file = own.cert_file;
    bench.forward->key_file = certified.key_file;
    assert_file_refused("is the key of another certificate than");
}

/* The CA is exchanged for another: what is open is not used again, and the next connection is judged anew. */
static void test_file_changes(void **state)
{
    (void)state;
    struct authority other;
    char path[128];
    use_once();
    authority_open(&other);
    snprintf(path, sizeof path, "%s/ca.pem", authority.directory);
    char saved[160];
    snprintf(saved, sizeof saved, "%s.saved", path);
    assert_int_equal(rename(path, saved), 0);
    assert_int_equal(symlink(other.ca_file, path), 0);
    LIST_FIRST(&bench.worker.upstreams)->looked_at = 0; /* it looks once a second */
    start(GET);
    far_release(&far);
    far_accept(&bench, &far);
    assert_refused(HTTP_REFUSED_UPSTREAM_TLS, "(trusted are "); /* the two CAs have one name */
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rename(saved, path), 0);
    authority_close(&other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up_tls, tear_down)
    const struct CMUnitTest tests[] = {
        T(test_own_certificate),   T(test_own_certificate_is_wanted),
        T(test_missing_file),      T(test_file_of_nonsense),
        T(test_directory_as_file), T(test_bad_own_certificate),
        T(test_key_of_another),    T(test_file_changes),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
