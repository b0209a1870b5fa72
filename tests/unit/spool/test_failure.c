/* What SQLite and the disk said, as errno values with advice. */
#include "spool/failure.h"

#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_codes(void **state)
{
    static const struct {
        int sqlite, system, code;
    } cases[] = {
        {SQLITE_OK, 0, 0},
        {SQLITE_ROW, 0, 0},
        {SQLITE_DONE, EIO, 0},
        {SQLITE_FULL, 0, -ENOSPC},
        {SQLITE_NOMEM, 0, -ENOMEM},
        {SQLITE_IOERR_NOMEM, 0, -ENOMEM},
        {SQLITE_READONLY_DIRECTORY, 0, -EROFS},
        {SQLITE_CORRUPT_INDEX, 0, -EUCLEAN},
        {SQLITE_NOTADB, 0, -EUCLEAN},
        {SQLITE_FORMAT, 0, -EUCLEAN},
        {SQLITE_BUSY, 0, -EBUSY},
        {SQLITE_LOCKED_SHAREDCACHE, 0, -EBUSY},
        {SQLITE_IOERR_WRITE, EIO, -EIO},
        {SQLITE_IOERR_WRITE, ENOSPC, -ENOSPC},
        {SQLITE_IOERR_WRITE, EDQUOT, -ENOSPC},
        {SQLITE_IOERR_FSYNC, EROFS, -EROFS},
        {SQLITE_CANTOPEN, EACCES, -EIO},
        {SQLITE_CONSTRAINT, 0, -EIO},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(failure_code(cases[i].sqlite, cases[i].system), cases[i].code);
    }
}

static void test_texts(void **state)
{
    static const struct {
        int code;
        const char *word;
    } cases[] = {{-ENOSPC, "free some"}, {-EROFS, "read-only"},       {-EIO, "kernel"},
                 {-EUCLEAN, "damaged"},  {-EBUSY, "another process"}, {-EACCES, "Permission denied"}};
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(failure_set(&err, cases[i].code, "cannot write"), cases[i].code);
        assert_ptr_equal(strstr(err.text, "cannot write: "), err.text);
        assert_non_null(strstr(err.text, cases[i].word));
    }
    assert_int_equal(failure_set(NULL, -EIO, "x"), -EIO);
}

/* The handle's last failure may be another than the one that is told. */
static void test_of_a_database(void **state)
{
    struct error err;
    sqlite3 *db;

    (void)state;
    assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
    assert_int_equal(failure_of(&err, db, SQLITE_FULL, "cannot write"), -ENOSPC);
    assert_int_equal(sqlite3_exec(db, "nonsense", NULL, NULL, NULL), SQLITE_ERROR);
    assert_int_equal(failure_of(&err, db, SQLITE_ERROR, "cannot write"), -EIO);
    assert_int_equal(failure_of(&err, db, SQLITE_CORRUPT, "cannot write"), -EUCLEAN);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_of_a_database),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
