/* posternctl eif measure: what is shown of an image. What the values are is tested with the reader. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "run_ctl.h"

#define HEADER 548

static char path[] = "/tmp/image-XXXXXX";

/* A kernel and a ramdisk of no bytes. */
static int setup_group(void **state)
{
    (void)state;
    uint8_t image[HEADER + 24] = ".eif\0\4";
    FILE *out = fdopen(mkstemp(path), "w");

    assert_non_null(out);
    image[27] = 2;
    image[HEADER + 1] = 1;
    image[HEADER + 13] = 3;
    uint32_t crc = (uint32_t)crc32(crc32(0, image, HEADER - 4), image + HEADER, 24);
    for (unsigned i = 0; i < 4; i++) {
        image[HEADER - 1 - i] = (uint8_t)(crc >> 8 * i);
    }
    assert_int_equal(fwrite(image, 1, sizeof image, out), sizeof image);
    return fclose(out);
}

static int teardown_group(void **state)
{
    (void)state;
    return unlink(path);
}

/* Of nothing at all: SHA-384(48 zero bytes, SHA-384()). */
#define OF_NOTHING \
    "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"

static void test_text(void **state)
{
    (void)state;
    struct ran ran;

    run_ctl(&ran, "eif", "measure", path, NULL);
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.out, "an enclave image of version 4 for x86_64, not signed\n"
                                 "PCR0  " OF_NOTHING "  the whole image\n"
                                 "PCR1  " OF_NOTHING "  kernel and boot ramdisk\n"
                                 "PCR2  " OF_NOTHING "  the application\n");
    ran_release(&ran);
}

static void test_json(void **state)
{
    (void)state;
    struct ran ran;

    run_ctl(&ran, "eif", "measure", path, "--json", NULL);
    assert_int_equal(ran.code, 0);
    assert_string_equal(ran.out, "{\n  \"Measurements\": {\n    \"HashAlgorithm\": \"Sha384 { ... }\",\n"
                                 "    \"PCR0\": \"" OF_NOTHING "\",\n    \"PCR1\": \"" OF_NOTHING
                                 "\",\n    \"PCR2\": \"" OF_NOTHING "\"\n  }\n}\n");
    ran_release(&ran);
}

static void test_mistakes(void **state)
{
    (void)state;
    struct ran ran;

    run_ctl(&ran, "eif", "measure", "/etc/passwd", NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "/etc/passwd: not an enclave image: "));
    ran_release(&ran);
    run_ctl(&ran, "eif", "measure", "/nonexistent", NULL);
    assert_int_equal(ran.code, 1);
    assert_non_null(strstr(ran.err, "cannot read /nonexistent: "));
    ran_release(&ran);
    run_ctl(&ran, "eif", "measure", NULL);
    assert_int_equal(ran.code, 2);
    ran_release(&ran);
    run_ctl(&ran, "eif", "--what", NULL);
    assert_int_equal(ran.code, 2);
    ran_release(&ran);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
