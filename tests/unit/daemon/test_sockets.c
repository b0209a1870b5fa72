/* The listening sockets of a configuration: kept, handed over or bound, and all of them or none. */
#include "daemon/sockets.h"

#include "daemon_bench.h"
#include "fault.h"
#include "loopback.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/postern-sockets-XXXXXX";
static char paths[6][64];

static const char routes[] = "routes: {r: {type: relay, to: \"tcp://127.0.0.1:1\"}}\n";

/* Listeners a (unix), b (hybrid), c (abstract), d and e (tcp, at any port), as many as asked for. */
static struct config *config_of(const char *names)
{
    char listeners[2048] = "";
    for (const char *name = names; *name != '\0'; name++) {
        char address[128], line[256];
        bool file = *name != 'c' && *name != 'd' && *name != 'e';
        switch (*name) {
        case 'a':
            snprintf(address, sizeof address, "unix://%s", paths[0]);
            break;
        case 'b':
            snprintf(address, sizeof address, "hybrid://%s:7", paths[1]);
            break;
        case 'c':
            snprintf(address, sizeof address, "unix://@postern-sockets-%d", (int)getpid());
            break;
        case 'd':
        case 'e':
            snprintf(address, sizeof address, "tcp://127.0.0.1:0");
            break;
        default:
            snprintf(address, sizeof address, "unix://%s/missing/x", folder);
            break;
        }
        snprintf(line, sizeof line, "  %c: {listen: \"%s\", route: r, allow: any%s}\n", *name, address,
                 file ? ", mode: \"0640\"" : "");
        strcat(listeners, line);
    }
    return daemon_config("version: 1\nlisteners:\n%s%s", listeners, routes);
}

static const struct socket_set nothing;
static struct activation no_activation;

static void close_all(struct socket_set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        close(set->sockets[i].fd);
        bound_socket_unlink(&set->sockets[i]);
    }
    socket_set_release(set);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void test_a_set_is_bound_and_its_files_go(void **state)
{
    struct config *config = config_of("abcd");
    struct socket_set set;
    struct error err = ERROR_INIT;
    struct stat st;
    (void)state;
    assert_int_equal(socket_set_prepare(&set, &nothing, config, &no_activation, &err), 0);
    assert_int_equal(set.count, 4);
    assert_int_equal(stat(paths[0], &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_true(exists(paths[2])); /* the hybrid's */
    for (unsigned i = 0; i < 4; i++) {
        assert_false(set.sockets[i].kept);
        assert_false(set.sockets[i].inherited);
        assert_ptr_equal(socket_set_find(&set, set.sockets[i].fd), &set.sockets[i]);
        assert_int_equal(bound_socket_set_mode(&set.sockets[i], 0600), 0); /* where there is a file */
    }
    assert_int_equal(stat(paths[0], &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_null(socket_set_find(&set, 9999));
    unlink(paths[0]);
    assert_int_equal(bound_socket_set_mode(&set.sockets[0], 0600), -ENOENT);
    close_all(&set);
    assert_false(exists(paths[0]));
    assert_false(exists(paths[2]));
    config_unref(config);
}

/* What connections inherit can be set again on a socket that stays. */
static void test_what_connections_inherit(void **state)
{
    struct config *config = config_of("d");
    struct socket_set set;
    struct error err = ERROR_INIT;
    int value = 0;
    socklen_t size = sizeof value;
    (void)state;
    assert_int_equal(socket_set_prepare(&set, &nothing, config, &no_activation, &err), 0);
    int fd = set.sockets[0].fd;
    assert_int_equal(set.sockets[0].at.kind, ADDR_TCP);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, sizeof value), 0);
    bound_socket_tune(&set.sockets[0], config);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    assert_true(value != 0);
    close_all(&set);
    config_unref(config);
}

static void test_what_stays_is_kept_and_survives_an_abandoned_set(void **state)
{
    struct config *first = config_of("ab"), *second = config_of("acx"), *third = config_of("ca");
    struct socket_set before, after;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(socket_set_prepare(&before, &nothing, first, &no_activation, &err), 0);
    unsigned open = descriptors();
    /* The last of the second cannot be bound: what is new goes, what is old stays. */
    assert_int_equal(socket_set_prepare(&after, &before, second, &no_activation, &err), -ENOENT);
    assert_non_null(strstr(err.text, "listener x: cannot listen at unix://"));
    assert_int_equal(descriptors(), open);
    assert_true(exists(paths[0]));
    assert_int_equal(socket_set_prepare(&after, &before, third, &no_activation, &err), 0);
    assert_true(after.sockets[1].kept);
    assert_int_equal(after.sockets[1].fd, before.sockets[0].fd);
    assert_false(after.sockets[0].kept);
    socket_set_abandon(&after);
    assert_int_equal(descriptors(), open);
    assert_true(exists(paths[0]));
    close_all(&before);
    config_unref(first);
    config_unref(second);
    config_unref(third);
}

/* Of those that may have any port, each has its own: by another's, callers would be judged by other rules. */
static void test_each_of_any_port_keeps_its_own(void **state)
{
    struct config *first = config_of("de"), *second = config_of("ed"), *third = config_of("e");
    struct socket_set before, after;
    struct error err = ERROR_INIT;
    (void)state;
    assert_int_equal(socket_set_prepare(&before, &nothing, first, &no_activation, &err), 0);
    assert_int_equal(socket_set_prepare(&after, &before, second, &no_activation, &err), 0);
    assert_int_equal(after.sockets[0].fd, before.sockets[1].fd);
    assert_int_equal(after.sockets[1].fd, before.sockets[0].fd);
    socket_set_release(&after);
    assert_int_equal(socket_set_prepare(&after, &before, third, &no_activation, &err), 0);
    assert_int_equal(after.sockets[0].fd, before.sockets[1].fd);
    socket_set_release(&after);
    close_all(&before);
    config_unref(first);
    config_unref(second);
    config_unref(third);
}

static void make_file(const char *path, struct stat *ret)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, ret), 0);
    close(fd);
}

/* Whoever may write to the folder has put something else there, a link to a file of ours, or a socket of its own. */
static void test_what_took_the_place_of_a_file_is_left_alone(void **state)
{
    struct config *config = config_of("a");
    struct socket_set set, other;
    struct error err = ERROR_INIT;
    struct stat st;
    (void)state;
    assert_int_equal(socket_set_prepare(&set, &nothing, config, &no_activation, &err), 0);
    unlink(paths[0]);
    make_file(paths[1], &st);
    assert_int_equal(symlink(paths[1], paths[0]), 0);
    assert_int_equal(bound_socket_set_mode(&set.sockets[0], 0666), -ENOENT);
    assert_int_equal(stat(paths[1], &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    unlink(paths[0]);
    unlink(paths[1]);
    assert_int_equal(socket_set_prepare(&other, &nothing, config, &no_activation, &err), 0);
    assert_int_equal(bound_socket_set_mode(&set.sockets[0], 0666), -ENOENT);
    assert_int_equal(stat(paths[0], &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    close_all(&set);
    assert_true(exists(paths[0]));
    close_all(&other);
    assert_false(exists(paths[0]));
    config_unref(config);
}

static void test_what_systemd_hands_over_is_used_by_name(void **state)
{
    struct config *config = config_of("ad");
    struct activation activation = {.count = 2};
    struct socket_set set;
    struct error err = ERROR_INIT;
    uint16_t port;
    (void)state;
    activation.sockets[0].fd = tcp_listener(5, &port);
    snprintf(activation.sockets[0].name, sizeof activation.sockets[0].name, "d");
    activation.sockets[1].fd = -1;
    snprintf(activation.sockets[1].name, sizeof activation.sockets[1].name, "other");
    assert_int_equal(socket_set_prepare(&set, &nothing, config, &activation, &err), 0);
    assert_true(set.sockets[1].inherited);
    assert_int_equal(bound_socket_set_mode(&set.sockets[1], 0600), 0); /* not ours */
    assert_string_equal(activation_unclaimed(&activation), "other");
    /* Given up and claimed again: it is systemd's, and still there. */
    close_all(&set);
    assert_int_equal(socket_set_prepare(&set, &nothing, config, &activation, &err), 0);
    assert_true(set.sockets[1].inherited);
    socket_set_abandon(&set);
    close(activation.sockets[0].fd);
    config_unref(config);
}

struct faults {
    struct config *before, *after;
};

static void change_sets(void *arg)
{
    const struct faults *faults = arg;
    struct socket_set before, after;
    struct error err = ERROR_INIT;
    if (socket_set_prepare(&before, &nothing, faults->before, &no_activation, &err) != 0) {
        assert_true(err.text[0] != '\0');
    } else {
        if (socket_set_prepare(&after, &before, faults->after, &no_activation, &err) == 0) {
            assert_int_equal(after.count, faults->after->listener_count);
            socket_set_abandon(&after);
        }
        close_all(&before);
    }
    fault_spare(true); /* where removing a file failed */
    unlink(paths[0]);
    unlink(paths[2]);
    fault_spare(false);
}

static void test_faults(void **state)
{
    const unsigned calls = FAULT_MEMORY | FAULT_SOCKET | FAULT_BIND | FAULT_SOCKOPT | FAULT_FILE;
    struct faults faults = {.before = config_of("abd"), .after = config_of("acd")};
    (void)state;
    assert_true(fault_loop("sockets", calls, change_sets, &faults) >= 20);
    assert_true(fault_loop("sockets, sticky", calls | FAULT_STICKY, change_sets, &faults) >= 20);
    config_unref(faults.before);
    config_unref(faults.after);
}

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(paths[0], sizeof paths[0], "%s/a", folder);
    snprintf(paths[1], sizeof paths[1], "%s/b", folder);
    snprintf(paths[2], sizeof paths[2], "%s/b_7", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_set_is_bound_and_its_files_go),
        cmocka_unit_test(test_what_connections_inherit),
        cmocka_unit_test(test_what_stays_is_kept_and_survives_an_abandoned_set),
        cmocka_unit_test(test_each_of_any_port_keeps_its_own),
        cmocka_unit_test(test_what_took_the_place_of_a_file_is_left_alone),
        cmocka_unit_test(test_what_systemd_hands_over_is_used_by_name),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
