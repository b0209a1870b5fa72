/* What the doctor tries on the network. */
#include "ctl/probe.h"
#include "ctl/dial.h"
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <uv.h>

/* Names. The resolver lives on a loop of its own, which runs until the one answer is there. */

struct name_probe {
    struct resolve_request request;
    enum reason why;
    struct resolved answer;
    bool done;
};

static void on_resolved(struct resolve_request *request, enum reason why, const struct resolved *answer)
{
    struct name_probe *probe = request->data;
    probe->why = why;
    probe->done = true;
    if (answer != NULL) {
        probe->answer = *answer;
    }
}

static enum reason ask(uv_loop_t *loop, struct resolver *resolver, const char *name, struct resolved *ret)
{
    struct name_probe probe = {.why = REASON_NO_MEMORY};
    probe.request.data = &probe;
    if (resolve_start(resolver, name, &probe.request, on_resolved, ret) != 0) {
        return REASON_NO_MEMORY; /* a cache that was just made answers nothing at once */
    }
    while (!probe.done && uv_run(loop, UV_RUN_ONCE) != 0) {
    }
    *ret = probe.answer;
    return probe.why;
}

enum reason probe_name(const struct config_dns *dns, const char *name, struct resolved *ret)
{
    struct resolver_options options = {
        .servers = dns->servers,
        .timeout_ms = dns->timeout_ms,
        .min_ttl_ms = dns->min_ttl_ms,
        .max_ttl_ms = dns->max_ttl_ms,
        .stale_ms = dns->stale_ms,
        .cache_size = 1,
    };
    struct resolver_stats stats = {0};
    struct resolver *resolver;
    uv_loop_t loop;
    enum reason why = REASON_NO_MEMORY;
    if (uv_loop_init(&loop) != 0) {
        return why;
    }
    if (resolver_new(&loop, &options, &stats, &resolver, NULL) == 0) {
        why = ask(&loop, resolver, name, ret);
        resolver_close(resolver, NULL, NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return why;
}

/* TLS. */

static void say(struct probe_tls *ret, enum probe_tls_verdict verdict, const char *words)
{
    ret->verdict = verdict;
    snprintf(ret->words, sizeof ret->words, "%s", words);
}

static void say_openssl_error(struct probe_tls *ret, const char *otherwise)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    say(ret, PROBE_TLS_FAILED, reason != NULL ? reason : otherwise);
}

/* Returns whether the handshake was made. */
static bool shake_hands(SSL *ssl, int fd, uint64_t deadline, struct probe_tls *ret)
{
    for (;;) {
        ERR_clear_error();
        int r = SSL_connect(ssl);
        if (r == 1) {
            return true;
        }
        int want = SSL_get_error(ssl, r);
        if (want != SSL_ERROR_WANT_READ && want != SSL_ERROR_WANT_WRITE) {
            say_openssl_error(ret, "the connection was closed in the middle of the handshake");
            return false;
        }
        if (dial_wait(fd, want == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline) != 0) {
            say(ret, PROBE_TLS_FAILED, "no answer to the ClientHello in time");
            return false;
        }
    }
}

/* The first few names of the certificate, for the operator to compare. */
static void say_names(const X509 *certificate, struct probe_tls *ret)
{
    size_t used = (size_t)snprintf(ret->words, sizeof ret->words, "the certificate is for");
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int count = names != NULL ? sk_GENERAL_NAME_num(names) : 0;
    int told = 0;
    for (int i = 0; i < count && told < 4 && used < sizeof ret->words; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS) {
            used += (size_t)snprintf(ret->words + used, sizeof ret->words - used, "%s %.*s",
                                     told > 0 ? "," : "", ASN1_STRING_length(name->d.dNSName),
                                     (const char *)ASN1_STRING_get0_data(name->d.dNSName));
            told++;
        }
    }
    if (used < sizeof ret->words && told < count) {
        snprintf(ret->words + used, sizeof ret->words - used, told > 0 ? " and others" : " no host name");
    }
    GENERAL_NAMES_free(names);
}

static void judge(SSL *ssl, const char *name, struct probe_tls *ret)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    long verified = SSL_get_verify_result(ssl);
    if (certificate == NULL) {
        say(ret, PROBE_TLS_FAILED, "the server showed no certificate");
    } else if (X509_check_host(certificate, name, 0, 0, NULL) != 1) {
        ret->verdict = PROBE_TLS_WRONG_NAME;
        say_names(certificate, ret);
    } else if (verified != X509_V_OK) {
        say(ret, PROBE_TLS_UNTRUSTED, X509_verify_cert_error_string(verified));
    } else {
        say(ret, PROBE_TLS_OK, SSL_get_version(ssl));
    }
}

static void probe_with(SSL *ssl, int fd, const char *name, uint64_t deadline, struct probe_tls *ret)
{
    if (SSL_set_tlsext_host_name(ssl, name) != 1 || SSL_set_fd(ssl, fd) != 1) {
        say_openssl_error(ret, "out of memory");
        return;
    }
    if (shake_hands(ssl, fd, deadline, ret)) {
        judge(ssl, name, ret);
    }
}

void probe_tls(int fd, const char *name, uint64_t deadline, struct probe_tls *ret)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    say(ret, PROBE_TLS_FAILED, "out of memory");
    if (context != NULL) {
        /* Without authorities every server is untrusted, and that is what will be told. */
        SSL_CTX_set_default_verify_paths(context);
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL); /* judged afterwards, so that more can be said */
        ssl = SSL_new(context);
    }
    if (ssl != NULL) {
        probe_with(ssl, fd, name, deadline, ret);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
}
