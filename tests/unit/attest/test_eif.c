/* Enclave images measured: the values, by the definition, and files that are none. */
#include "attest/eif.h"

#include "fault.h"
#include "maker.h"
#include <endian.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ui.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include <cbor.h>
#include <cmocka.h>

#define HEADER 548

/* ---- Images ---- */

static uint8_t image[1 << 20];
static size_t image_size;
static unsigned sections;
static struct eif eif;
static struct error err;
static struct maker_chain chain;

static void put16(size_t at, unsigned value)
{
    uint16_t big = htobe16((uint16_t)value);
    memcpy(image + at, &big, sizeof big);
}

static void begin_image(unsigned version, unsigned flags)
{
    memset(image, 0, HEADER);
    memcpy(image, ".eif", 4);
    put16(4, version);
    put16(6, flags);
    image_size = HEADER;
    sections = 0;
}

static void add_section(unsigned type, const void *data, size_t size)
{
    uint64_t big = htobe64(size);

    put16(image_size, type);
    put16(image_size + 2, 0);
    memcpy(image + image_size + 4, &big, sizeof big);
    memcpy(image + image_size + 12, data, size);
    image_size += 12 + size;
    sections++;
}

#define ADD(type, text) add_section(type, text, strlen(text))

static void end_image(void)
{
    put16(26, sections);
    uint32_t crc = (uint32_t)crc32(0, image, HEADER - 4);
    crc = (uint32_t)crc32(crc, image + HEADER, (uInt)(image_size - HEADER));
    crc = htobe32(crc);
    memcpy(image + HEADER - 4, &crc, sizeof crc);
}

static void make_plain(void)
{
    begin_image(4, 0);
    ADD(1, "kernel");
    ADD(2, "reboot=k panic=30");
    ADD(3, "init");
    ADD(3, "app");
    ADD(3, "more of it");
    ADD(5, "{}");
    end_image();
}

static char *certificate_pem(void)
{
    const uint8_t *at = chain.leaf;
    X509 *certificate = d2i_X509(NULL, &at, chain.leaf_size);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;

    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    long size = BIO_get_mem_data(bio, &text);
    char *pem = calloc(1, (size_t)size + 1);
    assert_non_null(pem);
    memcpy(pem, text, (size_t)size);
    BIO_free(bio);
    X509_free(certificate);
    return pem;
}

static cbor_item_t *numbers(const char *text)
{
    cbor_item_t *list = cbor_new_definite_array(strlen(text));

    for (const char *c = text; *c != '\0'; c++) {
        assert_true(cbor_array_push(list, cbor_move(cbor_build_uint8((uint8_t)*c))));
    }
    return list;
}

static void add_signature_by(const char *pem, bool as_numbers)
{
    cbor_item_t *all = cbor_new_definite_array(1), *one = cbor_new_definite_map(2);
    uint8_t *bytes;
    size_t room;
    cbor_item_t *value = as_numbers ? numbers(pem) : cbor_build_bytestring((uint8_t *)pem, strlen(pem));

    assert_true(cbor_map_add(one, (struct cbor_pair){.key = cbor_move(cbor_build_string("signature")),
                                                     .value = cbor_move(numbers("s"))}));
    assert_true(
        cbor_map_add(one, (struct cbor_pair){.key = cbor_move(cbor_build_string("signing_certificate")),
                                             .value = cbor_move(value)}));
    assert_true(cbor_array_push(all, cbor_move(one)));
    size_t size = cbor_serialize_alloc(all, &bytes, &room);
    assert_true(size > 0);
    add_section(4, bytes, size);
    cbor_decref(&all);
    free(bytes);
}

static void add_signature(bool as_numbers)
{
    char *pem = certificate_pem();

    add_signature_by(pem, as_numbers);
    free(pem);
}

static int measure(void)
{
    FILE *in = fmemopen(image, image_size, "r");

    assert_non_null(in);
    err.text[0] = '\0';
    int rv = eif_measure(in, &eif, &err);
    fclose(in);
    return rv;
}

static void assert_refused(const char *why)
{
    assert_int_equal(measure(), -EBADMSG);
    if (!strstr(err.text, why)) {
        fail_msg("'%s' is not in '%s'", why, err.text);
    }
}

/* By the definition. */
static void assert_pcr(const uint8_t pcr[EIF_PCR], const void *data, size_t size)
{
    uint8_t both[96] = {0}, wanted[48];

    assert_int_equal(EVP_Digest(data, size, both + 48, NULL, EVP_sha384(), NULL), 1);
    assert_int_equal(EVP_Digest(both, sizeof both, wanted, NULL, EVP_sha384(), NULL), 1);
    assert_memory_equal(pcr, wanted, sizeof wanted);
}

#define ASSERT_PCR(pcr, text) assert_pcr(pcr, text, sizeof(text) - 1)

/* ---- Tests ---- */

static int setup_group(void **state)
{
    (void)state;
    maker_chain_make(&chain, &(struct maker_kind){.curve = NULL});
    return 0;
}

static int teardown_group(void **state)
{
    (void)state;
    maker_chain_release(&chain);
    return 0;
}

static void test_measurements(void **state)
{
    (void)state;
    make_plain();
    assert_int_equal(measure(), 0);
    assert_int_equal(eif.version, 4);
    assert_false(eif.arm64);
    assert_int_equal(eif.ramdisks, 3);
    assert_false(eif.has_signature);
    ASSERT_PCR(eif.pcr0, "kernelreboot=k panic=30initappmore of it");
    ASSERT_PCR(eif.pcr1, "kernelreboot=k panic=30init");
    ASSERT_PCR(eif.pcr2, "appmore of it");
}

static void test_large_sections_and_arm(void **state)
{
    (void)state;
    static uint8_t kernel[200000];

    memset(kernel, 'k', sizeof kernel);
    begin_image(3, 1);
    add_section(1, kernel, sizeof kernel);
    ADD(3, "");
    end_image();
    assert_int_equal(measure(), 0);
    assert_true(eif.arm64);
    assert_pcr(eif.pcr0, kernel, sizeof kernel);
    assert_pcr(eif.pcr1, kernel, sizeof kernel);
    ASSERT_PCR(eif.pcr2, "");
}

static void test_signed_images(void **state)
{
    (void)state;
    for (unsigned as_numbers = 0; as_numbers < 2; as_numbers++) {
        begin_image(4, 0);
        ADD(1, "kernel");
        ADD(3, "init");
        add_signature(as_numbers);
        end_image();
        assert_int_equal(measure(), 0);
        assert_true(eif.has_signature);
        assert_pcr(eif.pcr8, chain.leaf, (size_t)chain.leaf_size);
        ASSERT_PCR(eif.pcr0, "kernelinit");
    }
}

static void test_signatures_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } wrong[] = {{"", 0},
                 {"\x80", 1},
                 {"\x81\xa0", 2},
                 {"\x81\xa1\x73signing_certificate\x61x", 24},
                 {"\x81\xa1\x73signing_certificate\x81\x19\x01\x00", 26},
                 {"\x81\xa1\x73signing_certificate\x41x", 24}};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        begin_image(4, 0);
        ADD(3, "init");
        add_section(4, wrong[i].bytes, wrong[i].size);
        end_image();
        assert_refused("no certificate that can be read");
    }
    begin_image(4, 0);
    ADD(3, "init");
    add_signature(true);
    add_signature(true);
    end_image();
    assert_refused("there are two");
    static uint8_t large[65537];
    begin_image(4, 0);
    add_section(4, large, sizeof large);
    end_image();
    assert_refused("too large");
}

static unsigned asked;

static int on_asked(UI *ui)
{
    (void)ui;
    asked++;
    return 0;
}

/* OpenSSL would ask who sits at the terminal for the passphrase of what is encrypted. */
static void test_nobody_is_asked(void **state)
{
    static const char encrypted[] = "-----BEGIN CERTIFICATE-----\n"
                                    "Proc-Type: 4,ENCRYPTED\n"
                                    "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n"
                                    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
                                    "-----END CERTIFICATE-----\n";
    UI_METHOD *method = UI_create_method("test");

    (void)state;
    assert_non_null(method);
    assert_int_equal(UI_method_set_opener(method, on_asked), 0);
    UI_set_default_method(method);
    begin_image(4, 0);
    ADD(3, "init");
    add_signature_by(encrypted, false);
    end_image();
    assert_refused("no certificate that can be read");
    assert_int_equal(asked, 0);
    UI_set_default_method(NULL);
    UI_destroy_method(method);
}

static void test_checksums(void **state)
{
    (void)state;
    make_plain();
    image[HEADER + 13] ^= 1;
    assert_refused("checksum");
    make_plain();
    image[9] ^= 1; /* of the header */
    assert_refused("checksum");
    /* The first version had none. */
    begin_image(1, 0);
    ADD(3, "init");
    put16(26, 1);
    assert_int_equal(measure(), 0);
}

static void test_files_that_are_none(void **state)
{
    (void)state;
    make_plain();
    image[0] = 'x';
    assert_refused("does not begin as one");
    make_plain();
    put16(26, 7);
    assert_refused("another number of sections");
    begin_image(4, 0);
    ADD(1, "kernel");
    end_image();
    assert_refused("no ramdisk");
    for (unsigned type = 0; type < 7; type += 6) {
        begin_image(4, 0);
        ADD(type, "what");
        end_image();
        assert_refused("unknown kind");
    }
}

static void test_every_truncation(void **state)
{
    (void)state;
    make_plain();
    size_t whole = image_size;
    for (image_size = 1; image_size < whole; image_size++) {
        assert_int_equal(measure(), -EBADMSG);
    }
    image[image_size++] = 0;
    assert_refused("bytes behind");
}

/* A size beyond all files is found out when the file ends. */
static void test_a_section_that_announces_much(void **state)
{
    (void)state;
    make_plain();
    memset(image + HEADER + 4, 0xff, 8);
    assert_refused("cut off");
}

static void test_a_file_that_cannot_be_read(void **state)
{
    (void)state;
    FILE *in = fopen("/", "r");

    assert_non_null(in);
    assert_int_equal(eif_measure(in, &eif, &err), -EIO);
    fclose(in);
}

/* A disk that gives so much, and then no more. */
struct bad_disk {
    size_t at, good;
};

static ssize_t read_bad_disk(void *cookie, char *buffer, size_t size)
{
    struct bad_disk *disk = cookie;
    size_t left = disk->good - disk->at, n = size < left ? size : left;

    if (n == 0) {
        errno = EIO;
        return -1;
    }
    memcpy(buffer, image + disk->at, n);
    disk->at += n;
    return (ssize_t)n;
}

static void test_a_disk_that_fails_anywhere(void **state)
{
    (void)state;
    make_plain();
    for (size_t good = 1; good < image_size; good += good < HEADER + 100 ? 1 : 1000) {
        struct bad_disk disk = {.good = good};
        FILE *in = fopencookie(&disk, "r", (cookie_io_functions_t){.read = read_bad_disk});
        assert_non_null(in);
        assert_int_equal(eif_measure(in, &eif, &err), -EIO);
        fclose(in);
    }
}

static void measure_one(void *data)
{
    FILE *in = data;

    rewind(in);
    int rv = eif_measure(in, &eif, &err);
    assert_true(rv == 0 || rv == -ENOMEM || rv == -EBADMSG);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    begin_image(4, 0);
    ADD(3, "init");
    add_signature(true);
    end_image();
    FILE *in = fmemopen(image, image_size, "r");
    assert_non_null(in);
    assert_true(fault_loop("eif", FAULT_MEMORY, measure_one, in) >= 10);
    fclose(in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measurements),
        cmocka_unit_test(test_large_sections_and_arm),
        cmocka_unit_test(test_signed_images),
        cmocka_unit_test(test_signatures_that_are_none),
        cmocka_unit_test(test_nobody_is_asked),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_files_that_are_none),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_a_section_that_announces_much),
        cmocka_unit_test(test_a_file_that_cannot_be_read),
        cmocka_unit_test(test_a_disk_that_fails_anywhere),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
