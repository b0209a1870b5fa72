/* The doctor in front of faults of forward and connect routes: upstreams, files of TLS, secrets of headers, AWS keys. */
#include "certificates.h"
#include "doctor_daemon.h"
#include "tls_peer.h"
#include <errno.h>
#include <openssl/pem.h>
#include <signal.h>
#include <unistd.h>

#define SECRET "s3cr3t"

/* ---- A daemon with an environment ---- */

struct daemon_process {
    char proc[96], directory[128];
    FILE *environment;
};

/* What /proc shows of it: of root, or of another user who may read what everybody may. */
static void process_open(struct fixture *fixture, struct daemon_process *process, unsigned uid)
{
    char path[160];
    snprintf(process->proc, sizeof process->proc, "%s/proc", fixture->directory);
    snprintf(process->directory, sizeof process->directory, "%s/%d", process->proc, getpid());
    assert_int_equal(mkdir(process->proc, 0755), 0);
    assert_int_equal(mkdir(process->directory, 0755), 0);
    snprintf(path, sizeof path, "%s/status", process->directory);
    write_file(path, "Name:\tposternd\nUid:\t9\t%u\t9\t9\nGid:\t9\t4000000001\t9\t9\nGroups:\t4000000002 \n",
               uid);
    snprintf(path, sizeof path, "%s/environ", process->directory);
    process->environment = fopen(path, "we");
    assert_non_null(process->environment);
    fixture->host.proc = process->proc;
}

static void process_set(struct daemon_process *process, const char *name, const char *value)
{
    assert_true(fprintf(process->environment, "%s=%s%c", name, value, '\0') > 0);
}

static void examine_process(struct fixture *fixture, struct daemon_process *process)
{
    static struct fake_daemon daemon;
    assert_int_equal(fclose(process->environment), 0);
    fake_daemon_init(&daemon);
    examine_daemon(fixture, &daemon);
}

/* In no finding, and no command that comes next. */
static void expect_no_secret(const struct fixture *fixture)
{
    char *all = json_dumps(fixture->result, 0);
    assert_non_null(all);
    assert_null(strstr(all, SECRET));
    free(all);
}

static const char *expect_skipped(const struct fixture *fixture, const char *check, const char *subject,
                                  const char *words)
{
    const json_t *entry = find(fixture, check, subject, words);
    assert_string_equal(view_text(entry, "verdict"), "skipped");
    return view_text(entry, "next");
}

/* ---- Upstreams ---- */

static void an_upstream_by_the_routes_own_authority(void **state)
{
    struct fixture *fixture = *state;
    struct authority authority, other;
    struct certified server, mine;
    struct tls_peer peer = {.port = 0};
    authority_open(&authority);
    authority_open(&other);
    authority_certify(&authority, "server", "IP:127.0.0.1", 3600, &server);
    authority_certify(&authority, "mine", "DNS:client.test", 3600, &mine);
    tls_peer_serve(&peer, certified_server(&server));
    configure(fixture,
              "routes:\n"
              "  good: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\", "
              "connect_timeout: 1m, tls: {ca: \"%s\"}}\n"
              "  own: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\", "
              "connect_timeout: 1m, tls: {ca: \"%s\", "
              "cert: \"%s\", key: \"%s\"}}\n"
              "  untrusted: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\", "
              "connect_timeout: 1m, tls: {ca: "
              "\"%s\"}}\n"
              "  plain: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:%u\"}\n",
              peer.port, authority.ca_file, peer.port, authority.ca_file, mine.cert_file, mine.key_file,
              peer.port, other.ca_file, peer.port);
    fixture->host.user = "root"; /* who may read all of these */
    examine(fixture);
    expect_ok(fixture, "connect", "good", "answers");
    expect_ok(fixture, "tls", "good", "127.0.0.1: certificate and name are right");
    expect_ok(fixture, "tls", "own", " is the key of ");
    expect_ok(fixture, "tls", "own", "certificate and name are right");
    expect_fault(fixture, "fail", "tls", "untrusted", other.ca_file, " -CAfile ");
    expect_ok(fixture, "connect", "plain", "answers");
    tls_peer_stop(&peer);
    authority_close(&authority);
    authority_close(&other);
}

static void faults_of_an_upstream(void **state)
{
    struct fixture *fixture = *state;
    struct authority authority;
    struct certified server;
    struct tls_peer peer = {.port = 0};
    unsigned closed;
    authority_open(&authority);
    authority_certify(&authority, "server", "DNS:results.test", 3600, &server);
    tls_peer_serve(&peer, certified_server(&server));
    close(listen_on_loopback(&closed, 8));
    configure(fixture,
              "routes:\n"
              "  name: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\", "
              "connect_timeout: 1m, tls: {ca: \"%s\"}}\n"
              "  down: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\", tls: {ca: "
              "\"%s\"}}\n",
              peer.port, authority.ca_file, closed, authority.ca_file);
    examine(fixture);
    expect_fault(fixture, "fail", "tls", "name", "results.test", "openssl s_client -connect 127.0.0.1:");
    expect_fault(fixture, "fail", "connect", "down", "Connection refused", "nc -vz 127.0.0.1 ");
    tls_peer_stop(&peer);
    authority_close(&authority);
}

/* What a server at 127.0.0.1 shows, whom the authority certifies. */
static SSL_CTX *open_certified(struct authority *authority)
{
    struct certified server;
    authority_open(authority);
    authority_certify(authority, "server", "IP:127.0.0.1", 3600, &server);
    return certified_server(&server);
}

static void configure_upstream(struct fixture *fixture, unsigned port, const struct authority *authority)
{
    configure(fixture,
              "routes:\n"
              "  r: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\", "
              "connect_timeout: 1m, tls: {ca: \"%s\"}}\n",
              port, authority->ca_file);
}

/* TLS 1.2; and TLS 1.3 without tickets, so that nothing comes after the handshake. */
static void upstreams_that_say_nothing_more(void **state)
{
    struct fixture *fixture = *state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct authority authority;
        struct tls_peer peer = {.port = 0};
        SSL_CTX *context = open_certified(&authority);
        assert_int_equal(SSL_CTX_set_max_proto_version(context, versions[i]), 1);
        assert_int_equal(SSL_CTX_set_num_tickets(context, 0), 1);
        tls_peer_serve(&peer, context);
        configure_upstream(fixture, peer.port, &authority);
        fixture->host.refusal_ms = 1;
        fixture->host.user = "root";
        examine(fixture);
        expect_ok(fixture, "tls", "r", "certificate and name are right");
        tls_peer_stop(&peer);
        authority_close(&authority);
    }
}

struct leaver {
    int listener;
    bool politely;
    SSL_CTX *context;
};

static void shake_hands_and_leave(void *data)
{
    const struct leaver *leaver = data;
    int fd = accept(leaver->listener, NULL, NULL);
    SSL *ssl = SSL_new(leaver->context);
    if (SSL_set_fd(ssl, fd) == 1 && SSL_accept(ssl) == 1 && leaver->politely) {
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    close(fd);
}

static void fault_an_upstream_that_leaves(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned politely = 0; politely < 2; politely++) {
        struct authority authority;
        uv_thread_t thread;
        unsigned port;
        struct leaver leaver = {.listener = listen_on_loopback(&port, 8), .politely = politely};
        leaver.context = open_certified(&authority);
        assert_int_equal(SSL_CTX_set_num_tickets(leaver.context, 0), 1);
        configure_upstream(fixture, port, &authority);
        assert_int_equal(uv_thread_create(&thread, shake_hands_and_leave, &leaver), 0);
        examine(fixture);
        assert_int_equal(uv_thread_join(&thread), 0);
        expect_fault(fixture, "fail", "tls", "r", "after the handshake", "openssl s_client");
        SSL_CTX_free(leaver.context);
        close(leaver.listener);
        authority_close(&authority);
    }
}

/* A server that speaks TLS 1.3 says so only after the handshake, earlier ones in it. */
static void fault_a_client_certificate_is_wanted(void **state)
{
    struct fixture *fixture = *state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct authority authority;
        struct tls_peer peer = {.port = 0};
        SSL_CTX *context = open_certified(&authority);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        assert_int_equal(SSL_CTX_set_max_proto_version(context, versions[i]), 1);
        tls_peer_serve(&peer, context);
        configure_upstream(fixture, peer.port, &authority);
        examine(fixture);
        expect_fault(fixture, "fail", "tls", "r", "alert", "openssl s_client -connect 127.0.0.1:");
        tls_peer_stop(&peer);
        authority_close(&authority);
    }
}

static void fault_silence(void **state)
{
    struct fixture *fixture = *state;
    unsigned port;
    int fd = listen_on_loopback(&port, 8);
    fixture->host.patience_ms = 1000;
    configure(fixture,
              "routes:\n  r: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:%u\"}\n",
              port);
    examine(fixture);
    expect_fault(fixture, "fail", "tls", "r", "no answer to the ClientHello in time", "openssl s_client");
    close(fd);
}

static void write_rsa_key(const char *path)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    FILE *file = fopen(path, "we");
    assert_non_null(key);
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    EVP_PKEY_free(key);
}

static void faults_of_files(void **state)
{
    struct fixture *fixture = *state;
    struct authority authority;
    struct certified mine, theirs;
    authority_open(&authority);
    authority_certify(&authority, "mine", "DNS:a.test", 3600, &mine);
    authority_certify(&authority, "theirs", "DNS:b.test", 3600, &theirs);
    char rsa[120];
    snprintf(rsa, sizeof rsa, "%s/rsa.key", fixture->directory);
    write_rsa_key(rsa);
    configure(fixture,
              "routes:\n"
              "  kind: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", tls: {cert: "
              "\"%s\", key: \"%s\"}}\n"
              "  gone: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", tls: {ca: "
              "/nonexistent/ca.pem}}\n"
              "  mixed: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", tls: {cert: "
              "\"%s\", key: \"%s\"}}\n"
              "  none: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", tls: {ca: "
              "\"%s\"}}\n",
              mine.cert_file, rsa, mine.cert_file, theirs.key_file, fixture->config);
    examine(fixture);
    expect_fault(fixture, "fail", "tls", "gone", "/nonexistent/ca.pem: No such file", "ls -lL /nonexistent");
    expect_fault(fixture, "fail", "tls", "mixed", "is the key of another certificate than", "openssl x509");
    expect_fault(fixture, "fail", "tls", "kind", "is the key of another certificate than", mine.cert_file);
    unlink(rsa);
    expect_fault(fixture, "fail", "tls", "none", "no CA's certificate", "ls -lL ");
    authority_close(&authority);
}

static void fault_the_daemon_may_not_read_a_file(void **state)
{
    struct fixture *fixture = *state;
    struct authority authority;
    struct daemon_process process;
    struct certified mine;
    authority_open(&authority);
    authority_certify(&authority, "mine", "DNS:a.test", 3600, &mine);
    assert_int_equal(chmod(authority.directory, 0755), 0);
    assert_int_equal(chmod(authority.ca_file, 0644), 0);
    assert_int_equal(chmod(mine.cert_file, 0644), 0);
    assert_int_equal(chmod(mine.key_file, 0600), 0);
    process_open(fixture, &process, 4000000000);
    configure(fixture,
              "routes:\n  r: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", tls: "
              "{ca: \"%s\", cert: \"%s\", key: "
              "\"%s\"}}\n",
              authority.ca_file, mine.cert_file, mine.key_file);
    examine_process(fixture, &process);
    expect_fault(fixture, "fail", "tls", "r", "the daemon's user may not read", authority.directory);
    authority_close(&authority);
}

static void hosts_of_a_connect_route(void **state)
{
    struct fixture *fixture = *state;
    unsigned port, closed;
    int fd = listen_on_loopback(&port, 8);
    close(listen_on_loopback(&closed, 8));
    configure(fixture,
              "routes:\n"
              "  proxy: {type: connect, hosts: [\"127.0.0.1:%u\", \"127.0.0.1:%u\", \"*.example.com:443\"]}\n"
              "  wild: {type: connect, hosts: [\"*.example.com:443\"]}\n"
              "  many: {type: connect, hosts: [\"127.0.0.1:%u\", \"127.0.0.2:%u\", \"127.0.0.3:%u\", "
              "\"127.0.0.4:%u\", \"127.0.0.5:%u\", \"127.0.0.6:%u\", \"127.0.0.7:%u\", \"127.0.0.8:%u\", "
              "\"127.0.0.9:%u\", \"127.0.0.10:%u\"]}\n",
              port, closed, closed, closed, closed, closed, closed, closed, closed, closed, closed, closed);
    examine(fixture);
    expect_ok(fixture, "connect", "proxy", "answers");
    expect_fault(fixture, "fail", "connect", "proxy", "Connection refused", "nc -vz 127.0.0.1 ");
    expect_skipped(fixture, "connect", "wild", "only wildcards");
    expect_skipped(fixture, "connect", "many", "2 more hosts not tried");
    close(fd);
}

/* ---- Secrets of headers ---- */

static const char headers[] =
    "routes:\n"
    "  env: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\", headers: {set: "
    "{authorization: \"Bearer "
    "${env:TOKEN}\"}}}\n"
    "  file: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\", headers: {set: {x-key: "
    "\"${env:TOKEN}${file:%s/key}\"}}}\n"
    "  cred: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\", headers: {add: {x-key: "
    "\"${credential:key}\"}, set: "
    "{x-name: \"${enclave}\"}}}\n";

static void secrets_that_are_there(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    char path[96];
    snprintf(path, sizeof path, "%s/key", fixture->directory);
    write_file(path, SECRET "\n");
    process_open(fixture, &process, 0);
    process_set(&process, "TOKEN", SECRET);
    process_set(&process, "CREDENTIALS_DIRECTORY", fixture->directory);
    configure(fixture, headers, fixture->directory);
    examine_process(fixture, &process);
    expect_ok(fixture, "header", "env", "authorization: its value is there");
    expect_ok(fixture, "header", "file", "x-key: its value is there");
    expect_ok(fixture, "header", "cred", "x-key: its value is there");
    expect_no_secret(fixture);
    assert_null(getenv("TOKEN"));
}

static void faults_of_secrets(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    char path[96];
    snprintf(path, sizeof path, "%s/key", fixture->directory);
    write_file(path, SECRET "\n" SECRET "\n");
    process_open(fixture, &process, 0);
    process_set(&process, "TOKEN", SECRET "\177");
    configure(fixture, headers, fixture->directory);
    examine_process(fixture, &process);
    expect_fault(fixture, "fail", "header", "env", "authorization: ", "EnvironmentFile= with TOKEN=");
    expect_fault(fixture, "fail", "header", "file", "x-key: ", "");
    expect_fault(fixture, "fail", "header", "cred", "no credentials were handed over",
                 "LoadCredential=key:/PATH");
    expect_no_secret(fixture);
}

static void fault_a_secret_that_is_gone(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    process_open(fixture, &process, 0);
    process_set(&process, "TOKEN", SECRET);
    configure(fixture, headers, fixture->directory);
    examine_process(fixture, &process);
    expect_ok(fixture, "header", "env", "its value is there");
    expect_fault(fixture, "fail", "header", "file", "No such file", "ls -lL ");
}

static void fault_the_daemon_may_not_read_a_secret(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    char path[96];
    snprintf(path, sizeof path, "%s/key", fixture->directory);
    write_file(path, SECRET "\n");
    assert_int_equal(chmod(path, 0640), 0);
    process_open(fixture, &process, 4000000000);
    process_set(&process, "TOKEN", SECRET);
    configure(fixture, headers, fixture->directory);
    examine_process(fixture, &process);
    expect_fault(fixture, "fail", "header", "file", "the daemon's user may not read", "namei -l ");
}

/* What a daemon in a container says its number is. */
static void a_process_of_another_name_is_not_asked(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    char path[160];
    process_open(fixture, &process, 0);
    process_set(&process, "TOKEN", SECRET);
    snprintf(path, sizeof path, "%s/status", process.directory);
    write_file(path, "Name:\tbash\nUid:\t0\t0\t0\t0\n");
    configure(fixture, headers, fixture->directory);
    examine_process(fixture, &process);
    const char *next =
        expect_skipped(fixture, "header", "env", "the environment of the daemon is not to be seen");
    assert_non_null(strstr(next, " doctor   # "));
}

static void without_a_daemon_its_environment_is_not_known(void **state)
{
    struct fixture *fixture = *state;
    setenv("TOKEN", SECRET, 1); /* ours, which is nobody's */
    setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE", 1);
    configure(fixture, "routes:\n"
                       "  env: {type: forward, methods: [GET], paths: [/], to: \"http://127.0.0.1:1\", "
                       "headers: {set: {authorization: \"Bearer "
                       "${env:TOKEN}\"}}}\n"
                       "  aws: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", "
                       "sign: {aws: {service: s3, region: "
                       "us-east-1}}}\n");
    examine(fixture);
    char next[200]; /* of the same file */
    snprintf(next, sizeof next, "sudo posternctl --config %s doctor   # once the daemon runs",
             fixture->config);
    assert_string_equal(expect_skipped(fixture, "header", "env", "as none answers"), next);
    expect_skipped(fixture, "credentials", "aws", "as none answers");
    unsetenv("TOKEN");
    unsetenv("AWS_ACCESS_KEY_ID");
}

/* ---- AWS keys ---- */

static void sign_by(struct fixture *fixture, const char *credentials)
{
    configure(fixture,
              "routes:\n  aws: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", "
              "sign: {aws: {service: s3, region: "
              "us-east-1, %s}}}\n",
              credentials);
}

static void keys_of_the_environment(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    process_open(fixture, &process, 0);
    process_set(&process, "AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
    process_set(&process, "AWS_SECRET_ACCESS_KEY", SECRET);
    sign_by(fixture, "credentials: auto");
    examine_process(fixture, &process);
    expect_ok(fixture, "credentials", "aws", "AWS keys come from the environment");
    expect_no_secret(fixture);
}

static void fault_no_keys_in_the_environment(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    process_open(fixture, &process, 0);
    sign_by(fixture, "credentials: env");
    examine_process(fixture, &process);
    expect_fault(fixture, "fail", "credentials", "aws", "AWS_ACCESS_KEY_ID is not set", "EnvironmentFile=");
}

static void keys_of_a_file(void **state)
{
    struct fixture *fixture = *state;
    char path[96], sign[160];
    snprintf(path, sizeof path, "%s/credentials", fixture->directory);
    snprintf(sign, sizeof sign, "credentials: file, file: \"%s\", profile: here", path);
    write_file(path, "[here]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = " SECRET "\n");
    sign_by(fixture, sign);
    fixture->host.user = "root";
    examine(fixture);
    expect_ok(fixture, "credentials", "aws", "AWS keys come from the credentials file");
    write_file(path, "[elsewhere]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = " SECRET "\n");
    examine(fixture);
    expect_fault(fixture, "fail", "credentials", "aws", "here", path);
    expect_no_secret(fixture);
}

static void answer_with_keys(void *data)
{
    static const char body[] = "{\"AccessKeyId\":\"AKIAEXAMPLE\",\"SecretAccessKey\":\"" SECRET
                               "\",\"Token\":\"t\",\"Expiration\":\"2199-01-01T00:00:00Z\"}";
    char head[128], heard[2048];
    int fd = accept(*(int *)data, NULL, NULL);
    (void)!recv(fd, heard, sizeof heard, 0);
    int size = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", sizeof body - 1);
    send(fd, head, (size_t)size, MSG_NOSIGNAL);
    send(fd, body, sizeof body - 1, MSG_NOSIGNAL);
    close(fd);
}

static void keys_of_a_container(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    uv_thread_t thread;
    unsigned port;
    char url[64];
    int fd = listen_on_loopback(&port, 8);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/keys", port);
    process_open(fixture, &process, 0);
    process_set(&process, "AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    sign_by(fixture, "credentials: container");
    assert_int_equal(uv_thread_create(&thread, answer_with_keys, &fd), 0);
    examine_process(fixture, &process);
    assert_int_equal(uv_thread_join(&thread), 0);
    expect_ok(fixture, "credentials", "aws", "AWS keys come from the container's endpoint");
    expect_no_secret(fixture);
    close(fd);
}

static void faults_of_endpoints(void **state)
{
    struct fixture *fixture = *state;
    struct daemon_process process;
    unsigned port;
    char url[64];
    close(listen_on_loopback(&port, 8));
    snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    process_open(fixture, &process, 0);
    process_set(&process, "AWS_EC2_METADATA_SERVICE_ENDPOINT", url);
    process_set(&process, "AWS_CONTAINER_CREDENTIALS_FULL_URI", url);
    configure(fixture, "routes:\n"
                       "  role: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", "
                       "sign: {aws: {service: s3, region: "
                       "us-east-1, credentials: instance}}}\n"
                       "  task: {type: forward, methods: [GET], paths: [/], to: \"https://127.0.0.1:1\", "
                       "sign: {aws: {service: s3, region: "
                       "us-east-1, credentials: container}}}\n");
    examine_process(fixture, &process);
    expect_fault(fixture, "fail", "credentials", "role", "metadata service", "security-credentials/");
    expect_fault(fixture, "fail", "credentials", "task", "credentials endpoint",
                 "show postern -p Environment");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        WITH_HOST(an_upstream_by_the_routes_own_authority),
        WITH_HOST(faults_of_an_upstream),
        WITH_HOST(upstreams_that_say_nothing_more),
        WITH_HOST(fault_an_upstream_that_leaves),
        WITH_HOST(fault_a_client_certificate_is_wanted),
        WITH_HOST(fault_silence),
        WITH_HOST(faults_of_files),
        WITH_HOST(fault_the_daemon_may_not_read_a_file),
        WITH_HOST(hosts_of_a_connect_route),
        WITH_HOST(secrets_that_are_there),
        WITH_HOST(faults_of_secrets),
        WITH_HOST(fault_a_secret_that_is_gone),
        WITH_HOST(fault_the_daemon_may_not_read_a_secret),
        WITH_HOST(a_process_of_another_name_is_not_asked),
        WITH_HOST(without_a_daemon_its_environment_is_not_known),
        WITH_HOST(keys_of_the_environment),
        WITH_HOST(fault_no_keys_in_the_environment),
        WITH_HOST(keys_of_a_file),
        WITH_HOST(keys_of_a_container),
        WITH_HOST(faults_of_endpoints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
