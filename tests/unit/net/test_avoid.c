/* Addresses that were of no use lately, and the order of the others. */
#include "net/avoid.h"

#include "base/compiler.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NOW 1000U

static struct sockaddr_any address(unsigned number)
{
    struct sockaddr_any made = {.length = sizeof(struct sockaddr_in)};
    struct sockaddr_in *four = (void *)&made.u;
    four->sin_family = AF_INET;
    four->sin_port = htons(443);
    four->sin_addr.s_addr = htonl(0xc0000200 + number);
    return made;
}

static void assert_order(const struct avoid *avoid, uint64_t now, const char *expected)
{
    struct sockaddr_any list[4];
    char order[8] = "";
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        list[i] = address(i);
    }
    avoid_sort(avoid, list, ARRAY_SIZE(list), now);
    for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
        const struct sockaddr_in *four = (const void *)&list[i].u;
        assert_int_equal(list[i].length, sizeof *four);
        order[i] = (char)('0' + (ntohl(four->sin_addr.s_addr) & 0xff));
    }
    assert_string_equal(order, expected);
}

static void note(struct avoid *avoid, unsigned number, uint64_t now)
{
    struct sockaddr_any noted = address(number);
    avoid_note(avoid, &noted, now);
}

static void forget(struct avoid *avoid, unsigned number)
{
    struct sockaddr_any forgotten = address(number);
    avoid_forget(avoid, &forgotten);
}

static void test_order(void **state)
{
    struct avoid avoid = {.list = {{.until = 0}}};
    (void)state;
    assert_order(&avoid, NOW, "0123");
    note(&avoid, 0, NOW);
    assert_order(&avoid, NOW, "1230");
    note(&avoid, 2, NOW);
    assert_order(&avoid, NOW, "1302");
    note(&avoid, 1, NOW);
    note(&avoid, 3, NOW);
    assert_order(&avoid, NOW, "0123"); /* none is left out */
    forget(&avoid, 2);
    assert_order(&avoid, NOW, "2013");
    forget(&avoid, 2);
    assert_order(&avoid, NOW, "2013");
}

static void test_time(void **state)
{
    struct avoid avoid = {.list = {{.until = 0}}};
    (void)state;
    note(&avoid, 0, NOW);
    note(&avoid, 1, NOW + 10);
    assert_order(&avoid, NOW + AVOID_MS - 1, "2301");
    assert_order(&avoid, NOW + AVOID_MS, "0231");
    note(&avoid, 1, NOW + AVOID_MS); /* again */
    assert_order(&avoid, NOW + 2 * AVOID_MS - 1, "0231");
    assert_order(&avoid, NOW + 2 * AVOID_MS, "0123");
}

/* The one that would be forgotten first makes room. */
static void test_many(void **state)
{
    struct avoid avoid = {.list = {{.until = 0}}};
    (void)state;
    for (unsigned i = 0; i < AVOID_MAX; i++) {
        note(&avoid, i, NOW + i);
    }
    note(&avoid, 0, NOW + 100);
    note(&avoid, 100, NOW + 101);
    assert_order(&avoid, NOW + 102, "1023");
}

/* Two families, and two ports. */
static void test_others(void **state)
{
    struct avoid avoid = {.list = {{.until = 0}}};
    struct sockaddr_any list[2] = {address(0), address(0)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    (void)state;
    ((struct sockaddr_in *)(void *)&list[1].u)->sin_port = htons(80);
    note(&avoid, 0, NOW);
    avoid_sort(&avoid, list, 2, NOW);
    assert_int_equal(((struct sockaddr_in *)(void *)&list[0].u)->sin_port, htons(80));
    list[1].length = sizeof six;
    memcpy(&list[1].u, &six, sizeof six);
    avoid_note(&avoid, &list[0], NOW);
    avoid_sort(&avoid, list, 2, NOW);
    assert_int_equal(list[0].length, sizeof six);
    avoid_sort(&avoid, list, 0, NOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
