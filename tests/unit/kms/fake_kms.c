/* A KMS and an NSM for tests, in a child process: see fake_kms.h. */
#include "fake_kms.h"

#include "envelope.h"
#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct fake_script *script;
static SSL_CTX *context;
static pthread_mutex_t last_lock =
    PTHREAD_MUTEX_INITIALIZER; /* of what connections note, in the child alone */
static EVP_PKEY *stranger;
static pthread_once_t stranger_once = PTHREAD_ONCE_INIT;

/* The child says what is wrong with itself by its end. */
static void check(bool right)
{
    if (!right) {
        abort();
    }
}

/* ---- Answers ---- */

static char *base64(const void *data, size_t size)
{
    char *text = malloc((size + 2) / 3 * 4 + 1);

    check(text != NULL);
    EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    return text;
}

static size_t unbase64(const char *text, uint8_t *ret, size_t room)
{
    size_t size = strlen(text);

    check(size / 4 * 3 <= room && size >= 4);
    int n = EVP_DecodeBlock(ret, (const unsigned char *)text, (int)size);
    check(n > 0);
    return (size_t)n - (text[size - 1] == '=') - (text[size - 2] == '=');
}

/* Takes a good while to be made, and few tests want it. */
static void make_stranger(void)
{
    stranger = EVP_RSA_gen(2048);
    check(stranger != NULL);
}

/* For the key that the document is. */
static char *encrypt(const json_t *recipient, const uint8_t *secret, size_t size, enum fake_way way)
{
    static _Thread_local struct bytes cms;
    uint8_t document[16384];
    const char *text = json_string_value(json_object_get(recipient, "AttestationDocument"));
    const uint8_t *at = document;
    size_t length = unbase64(text, document, sizeof document);
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)length);

    cms.size = 0;
    check(key != NULL);
    if (way == FAKE_WRONG_KEY) {
        check(pthread_once(&stranger_once, make_stranger) == 0);
    }
    envelope_make(&cms, &(struct envelope){.plain = {.data = secret, .size = size}},
                  way == FAKE_WRONG_KEY ? stranger : key);
    EVP_PKEY_free(key);
    return base64(cms.data, cms.size);
}

/* What is secret of an operation: the ciphertext itself, or so many bytes. */
static size_t make_secret(const json_t *request, uint8_t secret[8192])
{
    const char *text = json_string_value(json_object_get(request, "CiphertextBlob"));
    json_int_t bytes = json_integer_value(json_object_get(request, "NumberOfBytes"));
    const char *spec = json_string_value(json_object_get(request, "KeySpec"));

    if (text) {
        return unbase64(text, secret, 8192);
    }
    size_t size = bytes > 0 ? (size_t)bytes : spec && strcmp(spec, "AES_128") == 0 ? 16 : 32;
    for (size_t i = 0; i < size; i++) {
        secret[i] = (uint8_t)('A' + i % 26);
    }
    return size;
}

static json_t *answer_of(const char *operation, const json_t *request, enum fake_way way)
{
    uint8_t secret[8192];
    size_t size = make_secret(request, secret) - (way == FAKE_SHORT);
    const json_t *recipient = json_object_get(request, "Recipient");
    char *clear = base64(secret, size);
    char *sealed = recipient ? encrypt(recipient, secret, size, way) : NULL;
    bool pair = strcmp(operation, "GenerateDataKeyPair") == 0;
    json_t *answer =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:n}", "KeyId", "arn:aws:kms:test-1:1:key/1", "New", "?",
                  pair ? "PrivateKeyCiphertextBlob" : "CiphertextBlob", "c2VhbGVk", "PublicKey", "cHVibGlj",
                  "EncryptionAlgorithm", "SYMMETRIC_DEFAULT", "Plaintext");

    if (sealed && way != FAKE_MISSING) {
        json_object_set_new(answer, "CiphertextForRecipient",
                            json_string(way == FAKE_BAD_BLOB ? "!!!!" : sealed));
    }
    if (!sealed || way == FAKE_CLEAR) {
        json_object_set_new(answer, way == FAKE_CLEAR ? script->field : "Plaintext", json_string(clear));
    }
    free(clear);
    free(sealed);
    return answer;
}

/* ---- KMS ---- */

static bool send_all(SSL *ssl, const char *bytes, size_t size)
{
    size_t n;

    return SSL_write_ex(ssl, bytes, size, &n) == 1;
}

static bool answer_well(SSL *ssl, const char *request, const char *body, enum fake_way way)
{
    char operation[64] = "", head[256];
    const char *target = strstr(request, "x-amz-target: TrentService.");
    json_t *in = json_loads(body, 0, NULL);

    check(target != NULL && sscanf(target, "x-amz-target: TrentService.%63[A-Za-z]", operation) == 1);
    json_t *out = answer_of(operation, in, way);
    char *text = json_dumps(out, JSON_COMPACT);
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nx-amzn-RequestId: 12-34\r\nContent-Type: application/x-amz-json-1.1\r\n"
             "Content-Length: %zu\r\n\r\n",
             strlen(text));
    bool good = send_all(ssl, head, strlen(head)) && send_all(ssl, text, strlen(text));
    free(text);
    json_decref(out);
    json_decref(in);
    return good;
}

static bool answer_without_end(SSL *ssl)
{
    static const char piece[16384] = {'x'};
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    bool good = send_all(ssl, head, sizeof head - 1);

    while (good) {
        good = send_all(ssl, "4000\r\n", 6) && send_all(ssl, piece, sizeof piece) && send_all(ssl, "\r\n", 2);
    }
    return false;
}

static enum fake_way way_of_this_one(void)
{
    unsigned left = atomic_load(&script->count);

    while (left > 0 && !atomic_compare_exchange_weak(&script->count, &left, left - 1)) {
    }
    return left > 0 ? (enum fake_way)atomic_load(&script->way) : FAKE_GOOD;
}

static bool push(SSL *ssl)
{
    while (!atomic_load(&script->push)) {
        usleep(1000);
    }
    bool good = send_all(ssl, script->raw, strlen(script->raw));
    atomic_fetch_add(&script->pushed, 1);
    return good;
}

/* False: the connection is over. */
static bool answer(SSL *ssl, const char *request, const char *body)
{
    enum fake_way way = way_of_this_one();
    char byte;

    pthread_mutex_lock(&last_lock);
    snprintf(script->last, sizeof script->last, "%s", request);
    pthread_mutex_unlock(&last_lock);
    atomic_fetch_add(&script->requests, 1);
    switch (way) {
    case FAKE_RAW:
        return send_all(ssl, script->raw, strlen(script->raw));
    case FAKE_SILENT:
        (void)SSL_read(ssl, &byte, 1);
        return false;
    case FAKE_CLOSE:
        return false;
    case FAKE_HUGE:
        return answer_without_end(ssl);
    case FAKE_PUSH:
        return answer_well(ssl, request, body, FAKE_GOOD) && push(ssl);
    default:
        return answer_well(ssl, request, body, way);
    }
}

/* One request, whole; false: there is none. */
static bool hear(SSL *ssl, char *request, size_t room, const char **ret_body)
{
    size_t size = 0, n;
    char *body;

    for (;;) {
        request[size] = '\0';
        body = strstr(request, "\r\n\r\n");
        const char *length = strcasestr(request, "content-length: ");
        if (body && length && size >= (size_t)(body + 4 - request) + (size_t)atoi(length + 16)) {
            *ret_body = body + 4;
            return true;
        }
        if (size + 1 >= room || SSL_read_ex(ssl, request + size, room - size - 1, &n) != 1) {
            return false;
        }
        size += n;
    }
}

static void *serve_kms(void *data)
{
    static _Thread_local char request[600000];
    int fd = (int)(intptr_t)data;
    const char *body;
    SSL *ssl = SSL_new(context);

    check(ssl != NULL);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        atomic_fetch_add(&script->connections, 1);
        atomic_fetch_add(&script->resumed, (unsigned)SSL_session_reused(ssl));
        while (hear(ssl, request, sizeof request, &body) && answer(ssl, request, body) &&
               !atomic_load(&script->close_after)) {
        }
    }
    SSL_free(ssl);
    close(fd);
    atomic_fetch_add(&script->closed, 1);
    return NULL;
}

/* ---- The NSM ---- */

static void answer_nsm(int fd, const uint8_t *request, size_t size)
{
    static const uint8_t head[] = "\xa1\x6b"
                                  "Attestation\xa1\x68"
                                  "document\x59";
    static const char refusal[] = "\0\0\0\x18\xa1\x65"
                                  "Error\x70"
                                  "InvalidOperation";
    uint8_t out[4096] = {0};
    const uint8_t *key = memmem(request, size, "public_key\x59", 11);
    size_t length = key ? (size_t)key[11] << 8 | key[12] : 0, at = 4;

    atomic_fetch_add(&script->nsm_hung, 1);
    while (atomic_load(&script->nsm_hangs)) {
        usleep(1000);
    }
    atomic_fetch_sub(&script->nsm_hung, 1);
    if (atomic_load(&script->nsm_fails)) {
        (void)!write(fd, refusal, sizeof refusal - 1);
        return;
    }
    if (atomic_load(&script->nsm_babbles)) {
        (void)!write(fd, "\0\0\0\3abc", 7);
        return;
    }
    check(key != NULL);
    memcpy(out + at, head, sizeof head - 1);
    at += sizeof head - 1;
    memcpy(out + at, key + 11, 2 + length);
    at += 2 + length;
    out[2] = (uint8_t)((at - 4) >> 8);
    out[3] = (uint8_t)(at - 4);
    atomic_fetch_add(&script->documents, 1);
    (void)!write(fd, out, at);
}

/* False: it is over, or none that is asked of an NSM. */
static bool hear_nsm(int fd, uint8_t request[4096], size_t *ret_size)
{
    uint8_t head[4];

    if (recv(fd, head, sizeof head, MSG_WAITALL) != sizeof head || head[0] != 0 || head[1] != 0) {
        return false;
    }
    *ret_size = (size_t)head[2] << 8 | head[3];
    return *ret_size <= 4096 && recv(fd, request, *ret_size, MSG_WAITALL) == (ssize_t)*ret_size;
}

static void *serve_nsm(void *data)
{
    int fd = (int)(intptr_t)data;
    uint8_t request[4096];
    size_t size;

    while (hear_nsm(fd, request, &size) && !atomic_load(&script->nsm_closes)) {
        answer_nsm(fd, request, size);
    }
    close(fd);
    return NULL;
}

/* ---- The child ---- */

static int listen_anywhere(char address[64])
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check(fd >= 0 && bind(fd, (struct sockaddr *)&any, size) == 0 && listen(fd, 128) == 0 &&
          getsockname(fd, (struct sockaddr *)&any, &size) == 0);
    snprintf(address, 64, "tcp://127.0.0.1:%u", ntohs(any.sin_port));
    return fd;
}

/* Without Nagle's delay: an answer's body would wait for its head to be acknowledged, which takes 40 ms where nothing else is to be
 * said. */
static void accept_one(int listener, void *(*serve)(void *))
{
    int fd = accept(listener, NULL, NULL), on = 1;
    pthread_t thread;

    check(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
    check(pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) == 0);
    pthread_detach(thread);
}

static void run(int kms, int nsm)
{
    struct pollfd both[] = {{.fd = kms, .events = POLLIN}, {.fd = nsm, .events = POLLIN}};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        check(poll(both, 2, -1) > 0);
        if (both[0].revents) {
            accept_one(kms, serve_kms);
        }
        if (both[1].revents) {
            accept_one(nsm, serve_nsm);
        }
    }
}

/* ---- The test's side ---- */

void fake_kms_open(struct fake_kms *fake, const char *names, long seconds)
{
    struct certified certified;
    int kms, nsm;

    memset(fake, 0, sizeof *fake);
    script = mmap(NULL, sizeof *script, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(script != MAP_FAILED);
    fake->script = script;
    authority_open(&fake->authority);
    authority_certify(&fake->authority, "kms", names, seconds, &certified);
    kms = listen_anywhere(fake->address);
    nsm = listen_anywhere(fake->nsm);
    fake->child = fork();
    check(fake->child >= 0);
    if (fake->child == 0) {
        context = certified_server(&certified);
        run(kms, nsm);
    }
    close(kms);
    close(nsm);
}

void fake_kms_close(struct fake_kms *fake)
{
    int status;

    kill(fake->child, SIGKILL);
    assert_int_equal(waitpid(fake->child, &status, 0), fake->child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    authority_close(&fake->authority);
    munmap(fake->script, sizeof *fake->script);
}

void fake_kms_answer(struct fake_kms *fake, enum fake_way way, unsigned count)
{
    atomic_store(&fake->script->way, way);
    atomic_store(&fake->script->count, count);
}

void fake_kms_answer_raw(struct fake_kms *fake, unsigned count, const char *raw)
{
    assert_true(strlen(raw) < sizeof fake->script->raw);
    strcpy(fake->script->raw, raw);
    fake_kms_answer(fake, FAKE_RAW, count);
}

void fake_kms_answer_json(struct fake_kms *fake, unsigned count, unsigned status, const char *head,
                          const char *json)
{
    snprintf(fake->script->raw, sizeof fake->script->raw,
             "HTTP/1.1 %u Told\r\n%sContent-Length: %zu\r\n\r\n%s", status, head, strlen(json), json);
    fake_kms_answer(fake, FAKE_RAW, count);
}

void fake_kms_options(const struct fake_kms *fake, struct postern_kms_options *ret)
{
    postern_kms_options_init(ret);
    ret->raw_address = fake->address;
    ret->region = "test-1";
    ret->ca_file = fake->authority.ca_file;
    ret->access_key_id = "AKIDEXAMPLE";
    ret->secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    ret->insecure_nsm = fake->nsm;
    ret->timeout_ms = 60000;
}

void fake_kms_client(const struct postern_kms_options *options, struct postern_kms **kms)
{
    struct postern_error err;

    postern_kms_close(*kms);
    *kms = NULL;
    if (postern_kms_open(options, kms, &err) != 0) {
        fail_msg("%s", err.message);
    }
}
