/* Tests of kms/credentials*.c: where a client's keys come from, how often they are asked for, and what is told when there are none. */
#include "kms/clock.h"
#include "kms/credentials.h"

#include "fault.h"
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- An endpoint: the metadata service and a container's in one, in a child process, whose descriptors are its own ---- */

struct endpoint {
    atomic_ullong now_s;
    uint16_t port;
    atomic_uint tokens, roles, keys; /* requests for them */
    atomic_int life_s, token_status, role_status, keys_status;
    atomic_bool unknown; /* the next request with a token is answered 401 */
    atomic_bool never;   /* and all of them */
    _Atomic(const char *) role, json;
    char authorization[64];
};

static struct endpoint *endpoint; /* shared with the child */
static pid_t child;

/* ---- The time of day is the tests' own ---- */

enum { NOW = 1767225600 }; /* 2026-01-01T00:00:00Z */

uint64_t __wrap_credentials_now_ms(void);

uint64_t __wrap_credentials_now_ms(void)
{
    return (uint64_t)atomic_load(&endpoint->now_s) * 1000;
}

static void say(int fd, int status, const char *body)
{
    char text[2048];
    int size =
        snprintf(text, sizeof text, "HTTP/1.1 %d Told\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 status ? status : 200, strlen(body), status ? "" : body);

    if (status) {
        size = snprintf(text, sizeof text, "HTTP/1.1 %d Told\r\nContent-Length: 0\r\n\r\n", status);
    }
    (void)!send(fd, text, (size_t)size, MSG_NOSIGNAL);
}

static void give_keys(int fd)
{
    char text[1024];
    time_t expires = (time_t)atomic_load(&endpoint->now_s) + atomic_load(&endpoint->life_s);
    struct tm tm;
    char date[32];
    unsigned number = atomic_fetch_add(&endpoint->keys, 1) + 1;

    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&expires, &tm));
    snprintf(text, sizeof text,
             "{\"Code\":\"Success\",\"AccessKeyId\":\"KEY%u\",\"SecretAccessKey\":\"the/"
             "secret\",\"Token\":\"T==\","
             "\"Expiration\":\"%s\"}",
             number, date);
    const char *json = atomic_load(&endpoint->json);
    say(fd, atomic_load(&endpoint->keys_status), json ? json : text);
}

static void serve(int fd)
{
    char request[16384];
    size_t size = 0;
    ssize_t n;

    do {
        n = recv(fd, request + size, sizeof request - 1 - size, 0);
        size += n > 0 ? (size_t)n : 0;
        request[size] = '\0';
    } while (n > 0 && !strstr(request, "\r\n\r\n"));
    const char *said = strstr(request, "authorization: ");
    snprintf(endpoint->authorization, sizeof endpoint->authorization, "%.*s",
             said ? (int)strcspn(said + 15, "\r") : 0, said ? said + 15 : "");
    if (strncmp(request, "PUT /latest/api/token", 21) == 0) {
        atomic_fetch_add(&endpoint->tokens, 1);
        say(fd, atomic_load(&endpoint->token_status), "TOKEN==");
    } else if (strncmp(request, "GET /latest", 11) == 0 &&
               (atomic_load(&endpoint->never) || atomic_exchange(&endpoint->unknown, false))) {
        say(fd, 401, "");
    } else if (strstr(request, "GET /latest/meta-data/iam/security-credentials/ ")) {
        atomic_fetch_add(&endpoint->roles, 1);
        say(fd, atomic_load(&endpoint->role_status), atomic_load(&endpoint->role));
    } else {
        give_keys(fd);
    }
    close(fd);
}

static void run_endpoint(int listener)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        serve(accept(listener, NULL, NULL));
    }
}

static char home[64];

static int set_up_all(void **state)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof any;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)state;

    strcpy(home, "/tmp/postern-kms-XXXXXX");
    endpoint = mmap(NULL, sizeof *endpoint, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (endpoint == MAP_FAILED || !mkdtemp(home) || bind(listener, (struct sockaddr *)&any, size) != 0 ||
        listen(listener, 64) != 0 || getsockname(listener, (struct sockaddr *)&any, &size) != 0) {
        return -1;
    }
    endpoint->port = ntohs(any.sin_port);
    child = fork();
    if (child == 0) {
        run_endpoint(listener);
    }
    close(listener);
    return child > 0 ? 0 : -1;
}

static int tear_down_all(void **state)
{
    (void)state;
    munmap(endpoint, sizeof *endpoint);
    return kill(child, SIGKILL) || waitpid(child, NULL, 0) != child || rmdir(home);
}

/* ---- A client's credentials ---- */

static struct kms_credentials credentials;
static struct error err;

static int set_up(void **state)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_PROFILE",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"};
    (void)state;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        unsetenv(names[i]);
    }
    setenv("HOME", home, 1);
    atomic_store(&endpoint->now_s, NOW);
    atomic_store(&endpoint->tokens, 0);
    atomic_store(&endpoint->roles, 0);
    atomic_store(&endpoint->keys, 0);
    atomic_store(&endpoint->life_s, 4000);
    atomic_store(&endpoint->token_status, 0);
    atomic_store(&endpoint->role_status, 0);
    atomic_store(&endpoint->keys_status, 0);
    atomic_store(&endpoint->unknown, false);
    atomic_store(&endpoint->never, false);
    atomic_store(&endpoint->role, "the-role\n");
    atomic_store(&endpoint->json, NULL);
    memset(&credentials, 0, sizeof credentials);
    kms_credentials_init(&credentials);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kms_credentials_close(&credentials);
    return 0;
}

static void use(enum kms_credentials_place place)
{
    char address[64];

    credentials.look.place = place;
    if (place == KMS_CREDENTIALS_METADATA) {
        snprintf(address, sizeof address, "tcp://127.0.0.1:%u", endpoint->port);
        assert_int_equal(addr_parse(address, &credentials.look.metadata.addr, &err), 0);
        credentials.look.has_metadata = true;
    }
}

static uint64_t soon(void)
{
    return kms_now_ms() + 60000;
}

static void assert_gives(const char *id)
{
    struct kms_keys *keys;

    if (kms_credentials_get(&credentials, soon(), &keys, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(keys->keys.access_key_id, id);
    kms_keys_put(keys);
}

static void assert_fails(const char *words)
{
    struct kms_keys *keys;
    int status = kms_credentials_get(&credentials, soon(), &keys, &err);

    if (status != -ENOKEY || !strstr(err.text, words)) {
        fail_msg("%d, or without \"%s\": %s", status, words, err.text);
    }
    assert_null(strstr(err.text, "the/secret"));
}

/* An endpoint that failed may be asked at once. */
static void forget_the_failure(void)
{
    credentials.retry_at = 0;
}

/* ---- Places ---- */

static void test_given(void **state)
{
    struct kms_keys *keys;
    (void)state;

    use(KMS_CREDENTIALS_GIVEN);
    assert_fails("no AWS credentials are given");
    forget_the_failure();
    assert_int_equal(credentials_keys_set(&credentials.look.given, "GIVEN", "s", NULL, &err), 0);
    assert_gives("GIVEN");
    assert_int_equal(kms_credentials_get(&credentials, soon(), &keys, &err), 0);
    assert_false(kms_credentials_refused(&credentials, keys));
    kms_keys_put(keys);
    kms_keys_put(NULL);
}

static void test_the_environment(void **state)
{
    (void)state;
    use(KMS_CREDENTIALS_ENVIRONMENT);
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    assert_fails("secret access key is missing");
    forget_the_failure();
    setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    assert_gives("ENV");
}

static void write_file(const char *path, const char *id)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "[mine]\naws_access_key_id = %s\naws_secret_access_key = s\n", id);
    assert_int_equal(fclose(file), 0);
}

static void test_a_file(void **state)
{
    struct kms_keys *keys;
    char path[128];
    (void)state;

    snprintf(path, sizeof path, "%s/file", home);
    use(KMS_CREDENTIALS_FILE);
    credentials.look.file = strdup(path);
    credentials.look.profile = strdup("mine");
    assert_fails(path);
    forget_the_failure();
    write_file(path, "ONE");
    assert_gives("ONE");
    write_file(path, "TWO");
    uint64_t begun = kms_now_ms();
    assert_gives(
        "TWO"); /* the file has changed; and that it may again, for two seconds, keeps nobody waiting */
    assert_true(kms_now_ms() - begun < 1500);
    assert_int_equal(kms_credentials_get(&credentials, soon(), &keys, &err), 0);
    assert_true(kms_credentials_refused(&credentials, keys));
    assert_true(kms_credentials_refused(&credentials, keys)); /* others have new ones already */
    kms_keys_put(keys);
    assert_gives("TWO");
    unlink(path);
}

static void test_the_chain(void **state)
{
    char path[128], folder[128];
    (void)state;

    credentials.look.place = KMS_CREDENTIALS_AUTO;
    assert_fails("there are no AWS credentials given, in the environment, in a file, or at a container's "
                 "endpoint, and: "
                 "there is no way to the metadata service");
    forget_the_failure();
    use(KMS_CREDENTIALS_METADATA);
    credentials.look.place = KMS_CREDENTIALS_AUTO;
    assert_gives("KEY1");
    kms_keys_put(credentials.keys);
    credentials.keys = NULL;
    credentials.look.file = strdup("/nonexistent/keys"); /* those are meant, and not the instance's */
    assert_fails("/nonexistent/keys");
    forget_the_failure();
    free(credentials.look.file);
    credentials.look.file = NULL;
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/token", 1);
    assert_fails("AWS_WEB_IDENTITY_TOKEN_FILE is set, which is not followed");
    forget_the_failure();
    unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
    snprintf(folder, sizeof folder, "%s/.aws", home);
    snprintf(path, sizeof path, "%s/.aws/credentials", home);
    assert_int_equal(mkdir(folder, 0700), 0);
    setenv("AWS_PROFILE", "mine", 1);
    write_file(path, "FILE");
    assert_gives("FILE");
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    assert_int_equal(unlink(path) || rmdir(folder), 0);
    assert_gives("ENV");
    unsetenv("AWS_ACCESS_KEY_ID");
    kms_keys_put(credentials.keys);
    credentials.keys = NULL;
    assert_fails("no other credentials stand in for those of AWS_PROFILE: credentials file ");
    forget_the_failure();
}

static void test_a_container(void **state)
{
    char url[64];
    (void)state;

    use(KMS_CREDENTIALS_CONTAINER);
    assert_fails("AWS_CONTAINER_CREDENTIALS_FULL_URI is set");
    forget_the_failure();
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/keys", 1);
    assert_fails(
        "the container's credentials endpoint: AWS_CONTAINER_CREDENTIALS_FULL_URI: it leads elsewhere");
    forget_the_failure();
    snprintf(url, sizeof url, "http://127.0.0.1:%u", endpoint->port);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    assert_gives("KEY1");
    assert_string_equal(endpoint->authorization, "");
    kms_credentials_close(&credentials);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who I am", 1);
    assert_gives("KEY2");
    assert_string_equal(endpoint->authorization, "who I am");
    kms_credentials_close(&credentials);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "who\r\nx: y", 1);
    assert_fails("the value for authorization has a line break");
    forget_the_failure();
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere/at/all", 1);
    assert_fails("cannot read AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    forget_the_failure();
    unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    atomic_store(&endpoint->keys_status, 500);
    assert_fails("it answers with status 500; see the agent's own log");
}

static void test_the_metadata_service(void **state)
{
    (void)state;
    use(KMS_CREDENTIALS_METADATA);
    assert_gives("KEY1");
    assert_gives("KEY1");
    assert_int_equal(atomic_load(&endpoint->keys), 1);
    kms_keys_put(credentials.keys);
    credentials.keys = NULL;
    assert_gives("KEY2");
    assert_int_equal(atomic_load(&endpoint->tokens), 1); /* it is good for hours */
    kms_keys_put(credentials.keys);
    credentials.keys = NULL;
    atomic_store(&endpoint->unknown, true);
    assert_gives("KEY3");
    assert_int_equal(atomic_load(&endpoint->tokens), 2); /* and replaced when it is not known any more */
}

static void test_what_the_metadata_service_may_say(void **state)
{
    (void)state;
    use(KMS_CREDENTIALS_METADATA);
    atomic_store(&endpoint->token_status, 403);
    assert_fails("it is turned off for this instance");
    forget_the_failure();
    atomic_store(&endpoint->token_status, 0);
    atomic_store(&endpoint->never, true);
    assert_fails("it refuses the token that it has just given");
    forget_the_failure();
    atomic_store(&endpoint->never, false);
    atomic_store(&endpoint->role_status, 404);
    assert_fails("the instance has no role");
    forget_the_failure();
    atomic_store(&endpoint->role_status, 0);
    atomic_store(&endpoint->role, "../../user-data");
    assert_fails("the name of a role is none");
    forget_the_failure();
    atomic_store(&endpoint->role, "");
    assert_fails("the name of a role is none");
    forget_the_failure();
    atomic_store(&endpoint->role, "role");
    atomic_store(&endpoint->json, "{\"Code\":\"AssumeRoleUnauthorizedAccess\"}");
    assert_fails("it answers AssumeRoleUnauthorizedAccess");
    forget_the_failure();
    atomic_store(&endpoint->json, "");
    assert_fails("no JSON object");
    forget_the_failure();
    atomic_store(&endpoint->json, NULL);
    atomic_store(&endpoint->keys_status, 503);
    assert_fails("it answers with status 503");
    forget_the_failure();
    assert_int_equal(addr_parse("unix:///nowhere/at/all", &credentials.look.metadata.addr, &err), 0);
    assert_fails("the instance metadata service: unix:///nowhere/at/all: cannot connect");
}

/* ---- Time ---- */

static void test_renewed_before_they_expire(void **state)
{
    (void)state;
    use(KMS_CREDENTIALS_METADATA);
    assert_gives("KEY1");
    atomic_fetch_add(&endpoint->now_s, 3690); /* of 4000 s: not before the last 300 */
    assert_gives("KEY1");
    atomic_fetch_add(&endpoint->now_s, 200); /* of these, the last 150 at the latest */
    assert_gives("KEY2");
    atomic_fetch_add(&endpoint->now_s, 3900);
    atomic_store(&endpoint->token_status, 500);
    atomic_store(&endpoint->role_status, 500);
    assert_gives("KEY2"); /* the old ones serve ... */
    unsigned asked = atomic_load(&endpoint->roles);
    credentials.retry_at = kms_now_ms() + 60000;
    assert_gives("KEY2");
    assert_int_equal(atomic_load(&endpoint->roles), asked); /* and it is left in peace */
    atomic_fetch_add(&endpoint->now_s, 100);
    assert_fails("it answers with status 500"); /* ... until they have expired */
    assert_int_equal(atomic_load(&endpoint->roles), asked);
    forget_the_failure();
    atomic_store(&endpoint->role_status, 0);
    assert_gives("KEY3");
}

static void test_expired_when_they_come(void **state)
{
    (void)state;
    use(KMS_CREDENTIALS_METADATA);
    atomic_store(&endpoint->life_s, -1);
    assert_fails("have expired already");
}

static void *get_keys(void *data)
{
    struct kms_keys *keys;
    struct error why;
    unsigned *good = data;

    *good = kms_credentials_get(&credentials, soon(), &keys, &why) == 0;
    if (*good) {
        kms_keys_put(keys);
    }
    return NULL;
}

static void test_asked_for_once(void **state)
{
    pthread_t threads[16];
    unsigned good[16];
    (void)state;

    use(KMS_CREDENTIALS_METADATA);
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, get_keys, &good[i]), 0);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(good[i]);
    }
    assert_int_equal(atomic_load(&endpoint->keys), 1);
    assert_int_equal(atomic_load(&endpoint->tokens), 1);
}

/* Whose time is over has learned nothing that the others should hear. */
static void test_no_time(void **state)
{
    struct kms_keys *keys;
    char path[128], address[160];
    (void)state;

    /* Somebody who lets connect, and says nothing. */
    struct sockaddr_un silent = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(path, sizeof path, "%s/silent", home);
    snprintf(silent.sun_path, sizeof silent.sun_path, "%s", path);
    snprintf(address, sizeof address, "unix://%s", path);
    assert_int_equal(bind(listener, (struct sockaddr *)&silent, sizeof silent) || listen(listener, 4), 0);
    use(KMS_CREDENTIALS_METADATA);
    assert_int_equal(addr_parse(address, &credentials.look.metadata.addr, &err), 0);
    assert_int_equal(kms_credentials_get(&credentials, kms_now_ms() + 20, &keys, &err), -ETIMEDOUT);
    assert_int_equal(credentials.failures, 0);
    close(listener);
    unlink(path);
    use(KMS_CREDENTIALS_METADATA);
    credentials.looking = true;
    assert_int_equal(kms_credentials_get(&credentials, kms_now_ms() + 1, &keys, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.text, "waiting for AWS credentials"));
    credentials.looking = false;
    assert_gives("KEY1");
}

/* ---- Failing calls ---- */

static void scenario(void *arg)
{
    struct kms_keys *keys;

    (void)arg;
    atomic_store(&endpoint->keys, 0);
    credentials.retry_at = 0;
    credentials.look.token[0] = '\0';
    if (kms_credentials_get(&credentials, soon(), &keys, &err) == 0) {
        assert_string_equal(keys->keys.access_key_id, "KEY1");
        kms_keys_put(keys);
        kms_keys_put(credentials.keys);
        credentials.keys = NULL;
    } else {
        assert_true(err.text[0] != '\0');
    }
}

static void test_faults(void **state)
{
    (void)state;
    use(KMS_CREDENTIALS_METADATA);
    assert_true(fault_loop("kms credentials",
                           FAULT_MEMORY | FAULT_SOCKET | FAULT_CONNECT | FAULT_READ | FAULT_WRITE, scenario,
                           NULL) >= 20);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_given),
        TEST(test_the_environment),
        TEST(test_a_file),
        TEST(test_the_chain),
        TEST(test_a_container),
        TEST(test_the_metadata_service),
        TEST(test_what_the_metadata_service_may_say),
        TEST(test_renewed_before_they_expire),
        TEST(test_expired_when_they_come),
        TEST(test_asked_for_once),
        TEST(test_no_time),
        TEST(test_faults),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
