/*
 * What KMS encrypts for an enclave, in every shape that it does not have: a table of envelopes, each wrong in one thing, and what comes of
 * it. All that is refused is told in the same words.
 */
#include "envelope.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define REFUSED "cannot open KMS's answer: it is not encrypted as KMS does, or not for this enclave"

static struct recipient *recipient;
static EVP_PKEY *key;
static struct error err;
static unsigned wrong;

/* As AWS's algorithm identifier, in its parts. */
#define OAEP       "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07"
#define MGF1       "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
#define SHA256_OID "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01"
#define SHA384_OID "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02"
#define IV         "\x04\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define AES(last)  "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x01" last
#define ZEROS_32   "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define BLOCK_16   "0123456789abcdef"

static const struct shape {
    const char *name;
    struct envelope envelope;
    const char *opens; /* what is found in it; NULL: refused */
} shapes[] = {
    {"as AWS writes it", {.piece = 0}, "the secret"},
    {"in one piece", {.primitive = true}, "the secret"},
    {"in pieces of one byte", {.piece = 1}, "the secret"},

    /* Whose it is. */
    {"no recipient", {.recipients = PART("\x31\x00")}, NULL},
    {"no set of recipients", {.recipients = PART("")}, NULL},
    {"two recipients", {.copies = 2}, NULL},
    {"three recipients", {.copies = 3}, NULL},
    {"a recipient by key agreement", {.recipients = PART("\x31\x04\xa1\x02\x30\x00")}, NULL},
    {"a recipient by a key encryption key", {.recipients = PART("\x31\x05\xa2\x03\x02\x01\x04")}, NULL},
    {"a recipient by password", {.recipients = PART("\x31\x05\xa3\x03\x02\x01\x00")}, NULL},
    {"another kind of recipient", {.recipients = PART("\x31\x05\xa4\x03\x06\x01\x2a")}, NULL},
    {"a recipient that is empty", {.recipients = PART("\x31\x02\x30\x00")}, NULL},
    {"no name", {.name = PART("")}, NULL},
    {"a name of another tag", {.name = PART("\x81\x04nobo")}, NULL},
    {"a name that is a number", {.name = PART("\x02\x01\x05")}, NULL},
    /* Whom it names is not looked at. */
    {"an empty name", {.name = PART("\x80\x00")}, "the secret"},
    {"a name of 20 bytes", {.name = PART("\x80\x14" BLOCK_16 "0123")}, "the secret"},

    /* Versions: nothing depends on them but that they are numbers. */
    {"no version", {.version = PART("")}, NULL},
    {"no version of the recipient", {.recipient_version = PART("")}, NULL},
    {"a version that is text", {.version = PART("\x0c\x01\x32")}, NULL},
    {"a version of 16 bytes", {.version = PART("\x02\x10" BLOCK_16)}, NULL},
    {"version 0", {.version = PART("\x02\x01\x00")}, "the secret"},
    {"version 255", {.version = PART("\x02\x02\x00\xff")}, "the secret"},
    {"version 0 of the recipient", {.recipient_version = PART("\x02\x01\x00")}, "the secret"},

    /* How the key is encrypted. */
    {"no algorithm of the key", {.algorithm = PART("")}, NULL},
    {"PKCS #1", {.algorithm = PART("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00")}, NULL},
    {"OAEP without parameters: SHA-1", {.algorithm = PART("\x30\x0b" OAEP)}, NULL},
    {"OAEP with empty parameters", {.algorithm = PART("\x30\x0d" OAEP "\x30\x00"), .hash = "SHA1"}, NULL},
    {"OAEP with parameters that are null", {.algorithm = PART("\x30\x0d" OAEP "\x05\x00")}, NULL},
    {"done with SHA-1, said to be SHA-256", {.hash = "SHA1"}, NULL},
    {"done with SHA-512, said to be SHA-256", {.hash = "SHA512"}, NULL},
    {"MGF1 done with SHA-1, said to be SHA-256", {.mgf = "SHA1"}, NULL},
    {"SHA-256 with MGF1 of SHA-1, and said so",
     {.mgf = "SHA1", .algorithm = PART("\x30\x1e" OAEP "\x30\x11\xa0\x0f\x30\x0d" SHA256_OID "\x05\x00")},
     NULL},
    {"SHA-1 with MGF1 of SHA-256, and said so",
     {.hash = "SHA1",
      .mgf = "SHA256",
      .algorithm = PART("\x30\x2b" OAEP "\x30\x1e\xa1\x1c\x30\x1a" MGF1 "\x30\x0d" SHA256_OID "\x05\x00")},
     NULL},
    {"SHA-384, and said so",
     {.hash = "SHA384",
      .algorithm = PART("\x30\x3c" OAEP "\x30\x2f\xa0\x0f\x30\x0d" SHA384_OID "\x05\x00\xa1\x1c\x30\x1a" MGF1
                        "\x30\x0d" SHA384_OID "\x05\x00")},
     NULL},
    {"hashes without their nulls",
     {.algorithm = PART("\x30\x38" OAEP "\x30\x2b\xa0\x0d\x30\x0b" SHA256_OID "\xa1\x1a\x30\x18" MGF1
                        "\x30\x0b" SHA256_OID)},
     NULL},
    {"a label",
     {.algorithm = PART("\x30\x50" OAEP "\x30\x43\xa0\x0f\x30\x0d" SHA256_OID "\x05\x00\xa1\x1c\x30\x1a" MGF1
                        "\x30\x0d" SHA256_OID "\x05\x00\xa2\x12\x30\x10" OAEP "\x04\x03"
                        "abc")},
     NULL},
    {"parameters with a tail",
     {.algorithm = PART("\x30\x3e" OAEP "\x30\x31\xa0\x0f\x30\x0d" SHA256_OID "\x05\x00\xa1\x1c\x30\x1a" MGF1
                        "\x30\x0d" SHA256_OID "\x05\x00\x05\x00")},
     NULL},
    {"an algorithm of two nulls", {.algorithm = PART("\x30\x04\x05\x00\x05\x00")}, NULL},

    /* The key. */
    {"a key that is empty", {.wrapped_key = PART("")}, NULL},
    {"a key of 32 bytes that nobody has encrypted", {.wrapped_key = PART(ZEROS_32)}, NULL},
    {"AES-128's key", {.key = PART(BLOCK_16)}, NULL},
    {"AES-192's key", {.key = PART(BLOCK_16 "01234567")}, NULL},
    {"a key of no bytes", {.key = PART("")}, NULL},
    {"a key of 31 bytes", {.key = PART(BLOCK_16 "0123456789abcde")}, NULL},
    {"a key of 33 bytes", {.key = PART(BLOCK_16 BLOCK_16 "0")}, NULL},
    {"a key of 64 bytes", {.key = PART(BLOCK_16 BLOCK_16 BLOCK_16 BLOCK_16)}, NULL},

    /* What it is. */
    {"no type", {.type = PART("")}, NULL},
    {"plain data", {.type = PART("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01")}, NULL},
    {"signed data", {.type = PART("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")}, NULL},
    {"encrypted data", {.type = PART("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06")}, NULL},
    {"an authenticated envelope",
     {.type = PART("\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x17")},
     NULL},
    {"no type of the content", {.content_type = PART("")}, NULL},
    {"signed data within", {.content_type = PART("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02")}, NULL},
    {"an envelope within, as its type says",
     {.content_type = PART("\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03")},
     NULL},
    {"an unknown type within", {.content_type = PART("\x06\x03\x2a\x03\x04")}, NULL},

    /* How the content is encrypted. */
    {"no algorithm of the content", {.content_algorithm = PART("")}, NULL},
    {"AES-128-CBC", {.cipher = "AES-128-CBC", .content_algorithm = PART("\x30\x1d" AES("\x02") IV)}, NULL},
    {"AES-192-CBC", {.cipher = "AES-192-CBC", .content_algorithm = PART("\x30\x1d" AES("\x16") IV)}, NULL},
    {"AES-256-ECB", {.cipher = "AES-256-ECB", .content_algorithm = PART("\x30\x0b" AES("\x29"))}, NULL},
    {"AES-256-OFB", {.cipher = "AES-256-OFB", .content_algorithm = PART("\x30\x1d" AES("\x2b") IV)}, NULL},
    {"AES-256-CFB", {.cipher = "AES-256-CFB", .content_algorithm = PART("\x30\x1d" AES("\x2c") IV)}, NULL},
    {"AES-256-GCM", {.content_algorithm = PART("\x30\x1d" AES("\x2e") IV)}, NULL},
    {"AES-256-GCM with its parameters",
     {.content_algorithm = PART("\x30\x1e" AES("\x2e") "\x30\x11\x04\x0c"
                                                       "0123456789ab"
                                                       "\x02\x01\x10")},
     NULL},
    {"triple DES",
     {.content_algorithm = PART("\x30\x14\x06\x08\x2a\x86\x48\x86\xf7\x0d\x03\x07\x04\x08"
                                "01234567")},
     NULL},
    {"an unknown cipher", {.content_algorithm = PART("\x30\x05\x06\x03\x2a\x03\x04")}, NULL},
    {"no IV", {.content_algorithm = PART("\x30\x0b" AES("\x2a"))}, NULL},
    {"an IV that is null", {.content_algorithm = PART("\x30\x0d" AES("\x2a") "\x05\x00")}, NULL},
    {"an IV that is a number", {.content_algorithm = PART("\x30\x0e" AES("\x2a") "\x02\x01\x07")}, NULL},
    {"an empty IV", {.iv = PART("")}, NULL},
    {"an IV of 8 bytes", {.iv = PART("01234567")}, NULL},
    {"an IV of 12 bytes", {.iv = PART("0123456789ab")}, NULL},
    {"an IV of 15 bytes", {.iv = PART("0123456789abcde")}, NULL},
    {"an IV of 17 bytes", {.iv = PART(BLOCK_16 "0")}, NULL},
    {"an IV of 32 bytes", {.iv = PART(BLOCK_16 BLOCK_16)}, NULL},

    /* The content. */
    {"no content", {.content = PART("")}, NULL},
    {"content of no bytes", {.content = PART("\x80\x00")}, NULL},
    {"content of no pieces", {.content = PART("\xa0\x80\0\0")}, NULL},
    {"content of no pieces, of definite length", {.content = PART("\xa0\x00")}, NULL},
    {"content of a piece of no bytes", {.content = PART("\xa0\x80\x04\x00\0\0")}, NULL},
    {"content of another tag", {.content = PART("\x81\x10" BLOCK_16)}, NULL},
    {"content in a piece of another type", {.content = PART("\xa0\x80\x0c\x10" BLOCK_16 "\0\0")}, NULL},
    {"half a block", {.ciphertext = PART("01234567")}, NULL},
    {"a block and a half", {.ciphertext = PART(BLOCK_16 "01234567")}, NULL},
    {"no secret", {.plain = PART("")}, NULL},
    {"a secret of one block", {.plain = PART(BLOCK_16)}, BLOCK_16},
    /* It is not looked into: what is in it is the secret. */
    {"an envelope as a secret",
     {.plain = PART("\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03")},
     "\x30\x80\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"},

    /* Lengths and ends. */
    {"one end too few", {.end = PART("\0\0\0\0")}, NULL},
    {"no ends", {.end = PART("")}, NULL},
    {"one end too many", {.end = PART("\0\0\0\0\0\0\0\0")}, NULL},
    {"a name of four gigabytes", {.name = PART("\x80\x84\xff\xff\xff\xff")}, NULL},
    {"a name of 2 to the 63", {.name = PART("\x80\x88\x80\x00\x00\x00\x00\x00\x00\x00")}, NULL},
    {"a length of 126 bytes", {.name = PART("\x80\xfe" BLOCK_16 BLOCK_16)}, NULL},
    {"the reserved length", {.name = PART("\x80\xff")}, NULL},
    {"a piece longer than all", {.content = PART("\xa0\x80\x04\x82\xff\xff" BLOCK_16 "\0\0")}, NULL},
    {"content longer than all", {.content = PART("\x80\x84\x7f\xff\xff\xff" BLOCK_16)}, NULL},
    {"recipients longer than all", {.recipients = PART("\x31\x84\x7f\xff\xff\xff")}, NULL},
    {"a number of indefinite length", {.version = PART("\x02\x80\0\0")}, NULL},
    {"a tag of many bytes", {.version = PART("\x1f\xff\xff\xff\xff\x7f\x01\x02")}, NULL},

    /* What may stand there as well, and is not looked at. */
    {"attributes",
     {.attributes = PART("\xa1\x0d\x30\x0b\x06\x03\x2a\x03\x04\x31\x04\x04\x02hi")},
     "the secret"},
    {"attributes that are none", {.attributes = PART("\x30\x00")}, NULL},
    {"an originator", {.originator = PART("\xa0\x00")}, "the secret"},
};

static int setup_group(void **state)
{
    (void)state;
    if (recipient_new(&recipient, &err) != 0) {
        return -1;
    }
    key = envelope_key_of(recipient);
    return 0;
}

static int teardown_group(void **state)
{
    (void)state;
    EVP_PKEY_free(key);
    recipient_free(recipient);
    return 0;
}

/* What is found, or NULL; `name` for what must not be. */
static void expect(const char *name, const struct bytes *cms, const char *opens)
{
    struct recipient_secret secret = {.data = NULL};
    int r = recipient_open(recipient, cms->data, cms->size, &secret, &err);

    if (!opens) {
        if (r != -EBADMSG || secret.data || strcmp(err.text, REFUSED) != 0) {
            print_message("%s: not refused\n", name);
            wrong++;
        }
    } else if (r != 0 || secret.size != strlen(opens) || memcmp(secret.data, opens, secret.size) != 0) {
        print_message("%s: not opened\n", name);
        wrong++;
    }
    recipient_wipe(&secret);
}

static void test_each_shape(void **state)
{
    (void)state;
    struct bytes cms;

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        envelope_make(&cms, &shapes[i].envelope, key);
        expect(shapes[i].name, &cms, shapes[i].opens);
    }
    assert_int_equal(wrong, 0);
}

/* Each shape that opens, cut at each byte. */
static void test_each_cut(void **state)
{
    (void)state;
    struct bytes cms;

    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (!shapes[i].opens) {
            continue;
        }
        envelope_make(&cms, &shapes[i].envelope, key);
        while (cms.size > 0) {
            cms.size--;
            expect(shapes[i].name, &cms, NULL);
        }
    }
    assert_int_equal(wrong, 0);
}

static void encrypt_block(const uint8_t *key_32, const uint8_t block[16], struct bytes *out)
{
    static const uint8_t iv[16];
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int size;

    assert_int_equal(EVP_EncryptInit_ex2(context, EVP_aes_256_cbc(), key_32, iv, NULL), 1);
    EVP_CIPHER_CTX_set_padding(context, 0);
    assert_int_equal(EVP_EncryptUpdate(context, out->data, &size, block, 16), 1);
    out->size = (size_t)size;
    EVP_CIPHER_CTX_free(context);
}

/* Every last byte of a block, before it zeros: none is a padding but 1, which leaves 15 bytes. */
static void test_every_padding(void **state)
{
    (void)state;
    static const uint8_t zeros[32];
    struct bytes cms, encrypted;
    struct recipient_secret secret;

    for (unsigned last = 0; last < 256; last++) {
        uint8_t block[16] = {[15] = (uint8_t)last};
        encrypt_block(zeros, block, &encrypted);
        envelope_make(&cms,
                      &(struct envelope){.key = {zeros, 32},
                                         .iv = {zeros, 16},
                                         .ciphertext = {encrypted.data, encrypted.size}},
                      key);
        if (last == 1) {
            assert_int_equal(recipient_open(recipient, cms.data, cms.size, &secret, &err), 0);
            assert_int_equal(secret.size, 15);
            recipient_wipe(&secret);
        } else {
            expect("a wrong padding", &cms, NULL);
        }
    }
    assert_int_equal(wrong, 0);
}

/* A padding of a whole block leaves nothing: there is no such secret. */
static void test_nothing_but_padding(void **state)
{
    (void)state;
    static const uint8_t zeros[32];
    struct bytes cms, encrypted;
    uint8_t block[16];

    memset(block, 16, sizeof block);
    encrypt_block(zeros, block, &encrypted);
    envelope_make(&cms,
                  &(struct envelope){.key = {zeros, 32},
                                     .iv = {zeros, 16},
                                     .ciphertext = {encrypted.data, encrypted.size}},
                  key);
    expect("nothing but padding", &cms, NULL);
    assert_int_equal(wrong, 0);
}

/* Elements in each other, as many as fit: parsers that go down for each run out of stack. */
static void test_nested(void **state)
{
    (void)state;
    static const uint8_t tags[] = {0x30, 0x31, 0xa0, 0x24};
    struct bytes cms;

    for (size_t i = 0; i < sizeof tags; i++) {
        cms.size = 0;
        while (cms.size + 2 <= RECIPIENT_CMS_MAX) {
            bytes_add(&cms, (const uint8_t[]){tags[i], 0x80}, 2);
        }
        expect("nested without end", &cms, NULL);
        /* And where the content is. */
        struct bytes content = {.size = 0};
        for (unsigned deep = 0; deep < 1000; deep++) {
            bytes_add(&content, (const uint8_t[]){deep == 0 ? 0xa0 : tags[i], 0x80}, 2);
        }
        envelope_make(&cms, &(struct envelope){.content = {content.data, content.size}}, key);
        expect("content nested without end", &cms, NULL);
    }
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_shape),    cmocka_unit_test(test_each_cut),
        cmocka_unit_test(test_every_padding), cmocka_unit_test(test_nothing_but_padding),
        cmocka_unit_test(test_nested),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
