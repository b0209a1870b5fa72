/* Reading addresses: every form, every refusal with its words, and the way back. */
#include "base/compiler.h"
#include "parsed_addr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FORMS "vsock://CID:PORT, unix:///PATH, tcp://HOST:PORT or hybrid:///PATH:PORT"

/* ---- What is understood ---- */

static void vsock_cids(void **state)
{
    static const struct {
        const char *text;
        uint32_t cid, port;
        const char *back;
    } cases[] = {
        {"vsock://16:5000", 16, 5000, "vsock://16:5000"},
        {"vsock://any:7000", ADDR_CID_ANY, 7000, "vsock://any:7000"},
        {"vsock://parent:7000", ADDR_CID_PARENT, 7000, "vsock://parent:7000"},
        {"vsock://3:7000", ADDR_CID_PARENT, 7000, "vsock://parent:7000"},
        {"vsock://local:1", ADDR_CID_LOCAL, 1, "vsock://local:1"},
        {"vsock://0:1", 0, 1, "vsock://0:1"},
        {"vsock://4294967294:4294967294", 4294967294u, 4294967294u, "vsock://4294967294:4294967294"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct addr addr = parsed(cases[i].text);
        char buffer[ADDR_TEXT_MAX];
        assert_int_equal(addr.kind, ADDR_VSOCK);
        assert_false(addr.cid_by_name);
        assert_int_equal(addr.cid, cases[i].cid);
        assert_int_equal(addr.port, cases[i].port);
        assert_string_equal(addr.host, "");
        assert_string_equal(addr_format(&addr, buffer), cases[i].back);
    }
}

static void vsock_enclave_names(void **state)
{
    static const char *const names[] = {"payroll", "a", "0x10", "pay-roll_2", FIFTY TEN "abc"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char text[ADDR_TEXT_MAX], buffer[ADDR_TEXT_MAX];
        snprintf(text, sizeof(text), "vsock://%s:8443", names[i]);
        struct addr addr = parsed(text);
        assert_true(addr.cid_by_name);
        assert_string_equal(addr.host, names[i]);
        assert_int_equal(addr.port, 8443);
        assert_string_equal(addr_format(&addr, buffer), text);
    }
}

static void paths(void **state)
{
    struct addr addr = parsed("unix:///run/postern/dev.sock");
    (void)state;
    assert_int_equal(addr.kind, ADDR_UNIX);
    assert_string_equal(addr.host, "/run/postern/dev.sock");

    addr = parsed("unix://@postern");
    assert_string_equal(addr.host, "@postern");

    addr = parsed("unix:///with a:colon, a blank and \xc3\xa9");
    assert_string_equal(addr.host, "/with a:colon, a blank and \xc3\xa9");

    addr = parsed("hybrid:///run/vm:4.sock:52");
    assert_int_equal(addr.kind, ADDR_HYBRID);
    assert_string_equal(addr.host, "/run/vm:4.sock");
    assert_int_equal(addr.port, 52);
}

static void tcp_hosts(void **state)
{
    static const struct {
        const char *text, *host;
        uint32_t port;
        bool literal;
        const char *back;
    } cases[] = {
        {"tcp://kms.us-east-1.amazonaws.com:443", "kms.us-east-1.amazonaws.com", 443, false, NULL},
        {"tcp://KMS.Example.COM.:443", "kms.example.com", 443, false, "tcp://kms.example.com:443"},
        {"tcp://localhost:1", "localhost", 1, false, NULL},
        {"tcp://_dmarc.x-y.a1:65535", "_dmarc.x-y.a1", 65535, false, NULL},
        {"tcp://10.0.0.1:80", "10.0.0.1", 80, true, NULL},
        {"tcp://[::1]:80", "::1", 80, true, NULL},
        {"tcp://[2001:DB8:0:0::1]:80", "2001:db8::1", 80, true, "tcp://[2001:db8::1]:80"},
        {"tcp://[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80, true, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct addr addr = parsed(cases[i].text);
        char buffer[ADDR_TEXT_MAX];
        assert_int_equal(addr.kind, ADDR_TCP);
        assert_string_equal(addr.host, cases[i].host);
        assert_int_equal(addr.port, cases[i].port);
        assert_int_equal(addr.literal, cases[i].literal);
        assert_string_equal(addr_format(&addr, buffer),
                            cases[i].back != NULL ? cases[i].back : cases[i].text);
    }
}

static void port_zero_is_for_listeners(void **state)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(addr_parse_listen("tcp://127.0.0.1:0", &addr, &err), 0);
    assert_int_equal(addr.port, 0);
    assert_int_equal(addr_parse("tcp://127.0.0.1:0", &addr, &err), -EINVAL);
    assert_int_equal(addr_parse_listen("vsock://any:0", &addr, &err), -EINVAL);
    assert_int_equal(addr_parse_listen("hybrid:///x:0", &addr, &err), -EINVAL);
}

/* ---- What is refused, in which words ---- */

struct refusal {
    const char *text;
    const char *problem;
    const char *expected; /* and the suggestion */
};

static const struct refusal refusals[] = {
    /* the scheme */
    {"", "the address is empty", FORMS},
    {"kms", "the scheme is missing", FORMS},
    {"kms.example.com:443", "the scheme is missing", FORMS ", such as tcp://kms.example.com:443"},
    {"16:5000", "the scheme is missing", FORMS ", such as vsock://16:5000"},
    {"::1", "the scheme is missing", FORMS},
    {"/run/x.sock", "the scheme is missing", FORMS ", such as unix:///run/x.sock"},
    {"/run/x.sock:52", "the scheme is missing", FORMS ", such as hybrid:///run/x.sock:52"},
    {"/run/x:y", "the scheme is missing", FORMS ", such as unix:///run/x:y"},
    {"@name", "the scheme is missing", FORMS ", such as unix://@name"},
    {"a-rather-long-scheme:1", "the scheme is missing", FORMS ", such as tcp://a-rather-long-scheme:1"},
    {"VSOCK://16:5000", "schemes are written in lower case", "vsock://CID:PORT, such as vsock://16:5000"},
    {"Tcp://h", "schemes are written in lower case", "tcp://HOST:PORT"},
    {"vsok://16:5000", "there is no such scheme", FORMS ", such as vsock://16:5000"},
    {"udp://h:1", "there is no such scheme", FORMS},
    {"https://h/path", "this is a URL, not an address", "tcp://HOST:PORT, such as tcp://h:443"},
    {"HTTP://h", "this is a URL, not an address", "tcp://HOST:PORT, such as tcp://h:80"},
    {"https://h:8443/?x", "this is a URL, not an address", "tcp://HOST:PORT, such as tcp://h:8443"},
    {"vsock:16:5000", "two slashes follow the scheme", "vsock://CID:PORT, such as vsock://16:5000"},
    {"tcp:/h:443", "two slashes follow the scheme", "tcp://HOST:PORT, such as tcp://h:443"},
    {"unix:/run/x", "two slashes follow the scheme", "unix:///PATH, such as unix:///run/x"},
    {"unix:@x", "two slashes follow the scheme", "unix:///PATH, such as unix://@x"},
    {"unix:/\xc3\xa9", "two slashes follow the scheme", "unix:///PATH"}, /* shown as it is it might not be */
    {"hybrid:/x:1", "two slashes follow the scheme", "hybrid:///PATH:PORT, such as hybrid:///x:1"},
    /* bytes */
    {"tcp://a\nb:1", "there is a control character in it", FORMS},
    {"unix:///x\x7f", "there is a control character in it", FORMS},
    {"\x1b[31m", "there is a control character in it", FORMS},
    {" tcp://h:1", "there is a blank at its start or end", FORMS},
    {"unix:///x ", "there is a blank at its start or end", FORMS},
    /* vsock */
    {"vsock://16", "the port is missing", "vsock://CID:PORT, such as vsock://16:8000"},
    {"vsock://16:", "the port is missing", "vsock://CID:PORT, such as vsock://16:8000"},
    {"vsock://", "the CID is missing", "vsock://CID:PORT"},
    {"vsock://:5000", "the CID is missing", "vsock://CID:PORT, such as vsock://any:5000"},
    {"vsock://16:0", "the port is not a number from 1 to 4294967294", "vsock://CID:PORT"},
    {"vsock://16:08", "the port is not a number from 1 to 4294967294", "vsock://CID:PORT"},
    {"vsock://16:x", "the port is not a number from 1 to 4294967294", "vsock://CID:PORT"},
    {"vsock://16:+1", "the port is not a number from 1 to 4294967294", "vsock://CID:PORT"},
    {"vsock://16:4294967296", "the port is not a number from 1 to 4294967294", "vsock://CID:PORT"},
    {"vsock://16:4294967295", "port 4294967295 means \"any port\" to the kernel, and is none",
     "vsock://CID:PORT"},
    {"vsock://*:7000", "the word for every CID is `any`", "vsock://CID:PORT, such as vsock://any:7000"},
    {"vsock://-1:7000", "the word for every CID is `any`", "vsock://CID:PORT, such as vsock://any:7000"},
    {"vsock://4294967295:7000", "the word for every CID is `any`",
     "vsock://CID:PORT, such as vsock://any:7000"},
    {"vsock://4294967296:7000", "the CID is not a number from 0 to 4294967294", "vsock://CID:PORT"},
    {"vsock://016:7000", "the CID is not a number from 0 to 4294967294", "vsock://CID:PORT"},
    {"vsock://Parent:7000",
     "the CID is neither a number, nor `any`, `parent`, `local`, nor an enclave's name",
     "vsock://CID:PORT, such as vsock://parent:7000"},
    {"vsock://-x:7000", "the CID is neither a number, nor `any`, `parent`, `local`, nor an enclave's name",
     "vsock://CID:PORT"},
    {"vsock://a.b:7000", "the CID is neither a number, nor `any`, `parent`, `local`, nor an enclave's name",
     "vsock://CID:PORT"},
    {"vsock://" FIFTY TEN "abcd:7000",
     "the CID is neither a number, nor `any`, `parent`, `local`, nor an enclave's name", "vsock://CID:PORT"},
    /* paths */
    {"unix://", "the path is missing", "unix:///PATH"},
    {"unix://run/x", "the path is not absolute", "unix:///PATH, such as unix:///run/x"},
    {"unix://run/\xe9", "the path is not absolute", "unix:///PATH"}, /* not to be shown, nor suggested */
    {"unix://./x", "the path is not absolute", "unix:///PATH, such as unix:///./x"},
    {"unix://@", "the abstract name is missing", "unix:///PATH"},
    {"unix:///run/", "the path is a directory's, not a socket's", "unix:///PATH"},
    {"unix:///" FIFTY FIFTY "1234567", "the path has 108 bytes, and the kernel takes 107", "unix:///PATH"},
    {"hybrid://", "the path is missing", "hybrid:///PATH:PORT"},
    {"hybrid://:52", "the path is missing", "hybrid:///PATH:PORT"},
    {"hybrid://x:52", "the path is not absolute", "hybrid:///PATH:PORT, such as hybrid:///x:52"},
    {"hybrid:///x", "the port is missing", "hybrid:///PATH:PORT, such as hybrid:///x:8000"},
    {"hybrid:///x:", "the port is missing", "hybrid:///PATH:PORT, such as hybrid:///x:8000"},
    {"hybrid:///x:y", "the port is not a number from 1 to 4294967294", "hybrid:///PATH:PORT"},
    {"hybrid:///x/:1", "the path is a directory's, not a socket's", "hybrid:///PATH:PORT"},
    {"hybrid:///" FIFTY FIFTY "12345:5", "the path has 106 bytes, and the kernel takes 105",
     "hybrid:///PATH:PORT"},
    {"hybrid:///" FIFTY FIFTY "123:5000", "the path has 104 bytes, and the kernel takes 102",
     "hybrid:///PATH:PORT"},
    /* tcp */
    {"tcp://", "the host is missing", "tcp://HOST:PORT"},
    {"tcp://:443", "the host is missing", "tcp://HOST:PORT, such as tcp://0.0.0.0:443"},
    {"tcp://h", "the port is missing", "tcp://HOST:PORT, such as tcp://h:443"},
    {"tcp://h:", "the port is missing", "tcp://HOST:PORT, such as tcp://h:443"},
    {"tcp://[::1]", "the port is missing", "tcp://HOST:PORT, such as tcp://[::1]:443"},
    {"tcp://h:65536", "the port is not a number from 1 to 65535", "tcp://HOST:PORT"},
    {"tcp://h:0443", "the port is not a number from 1 to 65535", "tcp://HOST:PORT"},
    {"tcp://h:-1", "the port is not a number from 1 to 65535", "tcp://HOST:PORT"},
    {"tcp://h:http", "the port is not a number from 1 to 65535", "tcp://HOST:PORT"},
    {"tcp://h:https", "the port is not a number", "tcp://HOST:PORT, such as tcp://h:443"},
    {"tcp://h:0", "port 0 is for listeners alone", "tcp://HOST:PORT"},
    {"tcp://h:443/", "nothing may follow the port", "tcp://HOST:PORT, such as tcp://h:443"},
    {"tcp://h:443?x", "nothing may follow the port", "tcp://HOST:PORT, such as tcp://h:443"},
    {"tcp://::1:443", "an IPv6 address stands in brackets", "tcp://HOST:PORT, such as tcp://[::1]:443"},
    {"tcp://::1:https", "an IPv6 address stands in brackets", "tcp://HOST:PORT"},
    {"tcp://2001:db8::1", "an IPv6 address stands in brackets",
     "tcp://HOST:PORT, such as tcp://[2001:db8::1]:443"},
    {"tcp://2001:db8::f00d", "an IPv6 address stands in brackets",
     "tcp://HOST:PORT, such as tcp://[2001:db8::f00d]:443"},
    {"tcp://::", "the port is missing", "tcp://HOST:PORT"},
    {"tcp://a:b:80", "an IPv6 address stands in brackets", "tcp://HOST:PORT"},
    {"tcp://[::1:443", "the bracket is not closed before the port", "tcp://HOST:PORT"},
    {"tcp://[::1]443", "the port is missing", "tcp://HOST:PORT"},
    {"tcp://[fe80::1%eth0]:1", "an IPv6 address with a zone is not supported", "tcp://HOST:PORT"},
    {"tcp://[10.0.0.1]:1", "what stands in brackets is not an IPv6 address", "tcp://HOST:PORT"},
    {"tcp://[]:1", "what stands in brackets is not an IPv6 address", "tcp://HOST:PORT"},
    {"tcp://*:80", "every address is 0.0.0.0, or [::]", "tcp://HOST:PORT, such as tcp://0.0.0.0:80"},
    {"tcp://127.1:80", "the host looks like an IPv4 address and is not one", "tcp://HOST:PORT"},
    {"tcp://256.0.0.1:80", "the host looks like an IPv4 address and is not one", "tcp://HOST:PORT"},
    {"tcp://010.0.0.1:80", "the host looks like an IPv4 address and is not one", "tcp://HOST:PORT"},
    {"tcp://2130706433:80", "the host looks like an IPv4 address and is not one", "tcp://HOST:PORT"},
    {"tcp://10.0.0.1.:80", "the host is not a host name or an IP address", "tcp://HOST:PORT"},
    {"tcp://.:80", "the host is not a host name or an IP address", "tcp://HOST:PORT"},
    {"tcp://a..b:80", "the host is not a host name or an IP address", "tcp://HOST:PORT"},
    {"tcp://a b:80", "the host is not a host name or an IP address", "tcp://HOST:PORT"},
    {"tcp://" FIFTY TEN "abcd.com:80", "the host is not a host name or an IP address", "tcp://HOST:PORT"},
};

/* Only what would play tricks is shown in another way; a long address is cut (a test of its own). */
static void check_refusal(const struct refusal *refusal)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    char quoted[ADDR_TEXT_MAX], expected[ERROR_TEXT_MAX];

    snprintf(quoted, sizeof(quoted), "%s", refusal->text);
    for (char *c = quoted; *c != '\0'; c++) {
        if (*c < 0x20 || *c == 0x7f) { /* and bytes above, which are negative */
            *c = '?';
        }
    }
    snprintf(expected, sizeof(expected), "\"%s\": %s; expected %s", quoted, refusal->problem,
             refusal->expected);
    memset(&addr, 0x5a, sizeof(addr));
    struct addr before = addr;
    assert_int_equal(addr_parse(refusal->text, &addr, &err), -EINVAL);
    assert_string_equal(err.text, expected);
    assert_memory_equal(&addr, &before, sizeof(addr));
    assert_int_equal(addr_parse(refusal->text, &addr, NULL), -EINVAL);
}

static void refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
        check_refusal(&refusals[i]);
    }
}

static void refused_for_a_listener(void **state)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(addr_parse_listen("tcp://h:65536", &addr, &err), -EINVAL);
    assert_string_equal(err.text, "\"tcp://h:65536\": the port is not a number from 0 to 65535; "
                                  "expected tcp://HOST:PORT");
}

static void a_password_is_not_repeated(void **state)
{
    static const char *const texts[] = {"tpc://user:secret@h:1", "https://user:secret@h:1",
                                        "//user:secret@h:1",     "user:secret@h:1",
                                        "tcp://user:secret@h:1", "tcp://secret@h:1"};
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        assert_int_equal(addr_parse(texts[i], &addr, &err), -EINVAL);
        assert_memory_equal(err.text, "\"...@h:1\": ", 11);
        assert_null(strstr(err.text, "secret"));
    }
}

static void a_long_suggestion_is_none(void **state)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(addr_parse("tcp://" FIFTY "." FIFTY "." FIFTY ":443/", &addr, &err), -EINVAL);
    assert_non_null(strstr(err.text, "nothing may follow the port"));
    assert_null(strstr(err.text, "such as"));
}

static void a_long_address_is_cut(void **state)
{
    static const char *const heads[] = {"tcp://",  "vsock://", "unix:///", "hybrid:///",
                                        "what://", "x",        "tcp:"};
    char text[5000];
    struct addr addr;
    struct error err;
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
        memset(text, 'a', sizeof(text));
        memcpy(text, heads[i], strlen(heads[i]));
        strcpy(text + sizeof(text) - 6, ":5000");
        assert_int_equal(addr_parse(text, &addr, &err), -EINVAL);
        assert_non_null(strstr(err.text, "aaa...\": "));
        assert_true(strlen(err.text) < 320);
    }
}

/* The longest of everything is taken. */
static void the_longest(void **state)
{
    char text[ADDR_TEXT_MAX], buffer[ADDR_TEXT_MAX];
    struct addr addr;
    struct sockaddr_any any;
    (void)state;

    addr = parsed("unix:///" FIFTY FIFTY "123456");
    assert_int_equal(strlen(addr.host), 107);
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), 0);
    addr = parsed("hybrid:///" FIFTY FIFTY "1234:5");
    assert_int_equal(addr_to_sockaddr(&addr, true, &any), 0);

    int n = snprintf(text, sizeof(text), "tcp://");
    for (int i = 0; i < 253; i++) {
        text[n++] = i % 64 == 63 ? '.' : 'a';
    }
    strcpy(text + n, ":65535");
    addr = parsed(text);
    assert_int_equal(strlen(addr.host), 253);
    assert_string_equal(addr_format(&addr, buffer), text);
}

/* ---- Names ---- */

static void hostnames(void **state)
{
    static const char *const good[] = {"a",    "localhost",       "A.B", "1.a", "a1", "1a", "-",
                                       "_x.y", "xn--bcher-kva.de"};
    static const char *const bad[] = {"",    ".",         "a.",  ".a",  "a..b", "1",
                                      "a.1", "127.0.0.1", "::1", "a b", "a/b",  "b\xc3\xbc"};
    char name[ADDR_HOST_MAX + 2];
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(addr_is_hostname(good[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(addr_is_hostname(bad[i]));
    }

    for (size_t i = 0; i < sizeof(name); i++) {
        name[i] = i % 2 != 0 ? '.' : 'a';
    }
    name[253] = '\0';
    assert_true(addr_is_hostname(name));
    name[253] = '.';
    name[254] = 'a';
    name[255] = '\0';
    assert_false(addr_is_hostname(name));

    memset(name, 'a', 64);
    name[64] = '\0';
    assert_false(addr_is_hostname(name));
    name[63] = '\0';
    assert_true(addr_is_hostname(name));
}

static void equality(void **state)
{
    static const char *const distinct[] = {
        "vsock://16:1",    "vsock://17:1",  "vsock://16:2",  "vsock://payroll:1",
        "vsock://fraud:1", "vsock://any:1", "unix:///a",     "unix:///b",
        "unix://@a",       "tcp://a:1",     "tcp://a:2",     "tcp://b:1",
        "tcp://[::1]:1",   "hybrid:///a:1", "hybrid:///a:2", "hybrid:///b:1",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(distinct); i++) {
        struct addr a = parsed(distinct[i]);
        for (size_t j = 0; j < ARRAY_SIZE(distinct); j++) {
            struct addr b = parsed(distinct[j]);
            assert_int_equal(addr_equal(&a, &b), i == j);
        }
    }
    struct addr a = parsed("tcp://[0:0::1]:1"), b = parsed("tcp://[::1]:1");
    assert_true(addr_equal(&a, &b));
}

/* ---- Round trip: whatever is put together from the grammar comes back the same ---- */

static uint32_t seed = 20240601;

static uint32_t pick(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static void random_word(char *text, size_t length, const char *alphabet)
{
    for (size_t i = 0; i < length; i++) {
        text[i] = alphabet[pick((uint32_t)strlen(alphabet))];
    }
    text[length] = '\0';
}

static void random_address(char text[ADDR_TEXT_MAX])
{
    char word[128];
    unsigned char ip[16];

    switch (pick(6)) {
    case 0:
        snprintf(text, ADDR_TEXT_MAX, "vsock://%u:%u", pick(0xffffffff), 1 + pick(0xfffffffe));
        break;
    case 1:
        random_word(word, 1 + pick(62), "abcxyz");
        snprintf(text, ADDR_TEXT_MAX, "vsock://%s:%u", word, 1 + pick(0xfffffffe));
        break;
    case 2:
        random_word(word, 1 + pick(106), "aZ09:@ .%_\xc3");
        word[0] = pick(2) ? '/' : '@';
        snprintf(text, ADDR_TEXT_MAX, "unix://%sx", word);
        break;
    case 3:
        random_word(word, 1 + pick(94), "aZ09:@ .%_\xc3");
        snprintf(text, ADDR_TEXT_MAX, "hybrid:///%s:%u", word, 1 + pick(0xfffffffe));
        break;
    case 4:
        random_word(word, 1 + pick(63), "abcXYZ019-_");
        snprintf(text, ADDR_TEXT_MAX, "tcp://%s.a:%u", word, 1 + pick(65535));
        break;
    default:
        for (size_t i = 0; i < sizeof(ip); i++) {
            ip[i] = pick(3) ? 0 : (unsigned char)pick(256);
        }
        inet_ntop(AF_INET6, ip, word, sizeof(word));
        snprintf(text, ADDR_TEXT_MAX, "tcp://[%s]:%u", word, 1 + pick(65535));
    }
}

static void round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        char text[ADDR_TEXT_MAX], once[ADDR_TEXT_MAX], twice[ADDR_TEXT_MAX];
        random_address(text);
        struct addr a, b;
        /* 64-byte labels and over-long paths are among them, and rightly refused */
        if (addr_parse(text, &a, NULL) != 0) {
            continue;
        }
        b = parsed(addr_format(&a, once));
        assert_true(addr_equal(&a, &b));
        assert_string_equal(once, addr_format(&b, twice));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vsock_cids),
        cmocka_unit_test(vsock_enclave_names),
        cmocka_unit_test(paths),
        cmocka_unit_test(tcp_hosts),
        cmocka_unit_test(port_zero_is_for_listeners),
        cmocka_unit_test(refused),
        cmocka_unit_test(refused_for_a_listener),
        cmocka_unit_test(a_password_is_not_repeated),
        cmocka_unit_test(a_long_suggestion_is_none),
        cmocka_unit_test(a_long_address_is_cut),
        cmocka_unit_test(the_longest),
        cmocka_unit_test(hostnames),
        cmocka_unit_test(equality),
        cmocka_unit_test(round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
