/* What is done before the app starts: mounts, loopback, entropy, modules, heartbeat, and the machine's end. The kernel is
 * played: no test mounts, seeds, loads or ends anything. */
#include "init/entropy.h"
#include "init/loopback.h"
#include "init/machine.h"
#include "init/mounts.h"
#include "nsm/nsm.h"

#include "fault.h"
#include "told.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static char root[] = "/tmp/postern-root.XXXXXX"; /* what is mounted, seen from here */

/* ---- The kernel, as played ---- */

static struct {
    int mount_code; /* errno; 0: it works */
    char mounted[1024];
    int get_flags_code, set_flags_code, flags;
    int seed_code;
    unsigned seeded_bits, seeded_bytes;
    int module_code;
    int reboot_with;
    int connect_code, timeout_code;
    int connected_as; /* what connect() makes of the socket */
    pid_t pid;
} kernel;

static int result(int code)
{
    errno = code;
    return code ? -1 : 0;
}

int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags,
                 const void *data);
int __wrap_ioctl(int fd, unsigned long number, void *argument);
long __wrap_syscall(long number, ...);
int __wrap_reboot(int how);
void __wrap_sync(void);
int __wrap_socket(int family, int type, int protocol);
int __real_socket(int family, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *to, socklen_t length);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t length);
int __real_setsockopt(int fd, int level, int name, const void *value, socklen_t length);
pid_t __wrap_getpid(void);
int __wrap_nsm_random(struct nsm *nsm, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length, struct error *err);

int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags,
                 const void *data)
{
    size_t length = strlen(kernel.mounted);

    assert_string_equal(source, type);
    assert_true(flags != 0);
    (void)data;
    snprintf(kernel.mounted + length, sizeof kernel.mounted - length, "%s %s\n", type,
             target + (strncmp(target, root, sizeof root - 1) ? 0 : sizeof root - 1));
    return result(kernel.mount_code);
}

int __wrap_ioctl(int fd, unsigned long number, void *argument)
{
    struct ifreq *request = argument;

    (void)fd;
    switch (number) {
    case SIOCGIFFLAGS:
        assert_string_equal(request->ifr_name, "lo");
        request->ifr_flags = (short)kernel.flags;
        return result(kernel.get_flags_code);
    case SIOCSIFFLAGS:
        if (kernel.set_flags_code == 0) {
            kernel.flags = request->ifr_flags;
        }
        return result(kernel.set_flags_code);
    default: {
        const struct rand_pool_info *seed = argument;

        assert_int_equal(number, RNDADDENTROPY);
        kernel.seeded_bits = (unsigned)seed->entropy_count;
        kernel.seeded_bytes = (unsigned)seed->buf_size;
        for (unsigned i = 0; i < kernel.seeded_bytes; i++) {
            assert_int_equal(((const uint8_t *)seed->buf)[i], i / 100 + 1);
        }
        return result(kernel.seed_code);
    }
    }
}

long __wrap_syscall(long number, ...)
{
    assert_int_equal(number, SYS_finit_module);
    return result(kernel.module_code);
}

int __wrap_reboot(int how)
{
    kernel.reboot_with = how;
    return result(EPERM);
}

void __wrap_sync(void)
{
}

int __wrap_socket(int family, int type, int protocol)
{
    return __real_socket(family == AF_VSOCK ? AF_UNIX : family, type, protocol);
}

int __wrap_connect(int fd, const struct sockaddr *to, socklen_t length)
{
    const struct sockaddr_vm *vm = (const struct sockaddr_vm *)(const void *)to;

    assert_int_equal(length, sizeof *vm);
    assert_int_equal(vm->svm_cid, 3);
    assert_int_equal(vm->svm_port, 9000);
    if (kernel.connect_code == 0) {
        assert_int_equal(dup2(kernel.connected_as, fd), fd);
    }
    return result(kernel.connect_code);
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    return level == AF_VSOCK ? result(kernel.timeout_code)
                             : __real_setsockopt(fd, level, name, value, length);
}

pid_t __wrap_getpid(void)
{
    return kernel.pid;
}

/* 100 bytes a call, which the pool's seed is no multiple of. */
static unsigned random_calls, random_fails_at;
#define NSM ((struct nsm *)&random_calls) /* nothing looks into it */

int __wrap_nsm_random(struct nsm *nsm, uint8_t bytes[NSM_RANDOM_MAX], size_t *ret_length, struct error *err)
{
    assert_ptr_equal(nsm, NSM);
    if (++random_calls == random_fails_at) {
        return error_set(err, -EIO, "played");
    }
    memset(bytes, (int)random_calls, 100);
    *ret_length = 100;
    return 0;
}

static int begin(void **state)
{
    (void)state;
    memset(&kernel, 0, sizeof kernel);
    random_calls = random_fails_at = 0;
    return 0;
}

/* ---- Mounts ---- */

static int make_root(void **state)
{
    begin(state);
    strcpy(root + sizeof root - 7, "XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void in_root(const char *path, char full[64])
{
    snprintf(full, 64, "%s%s", root, path);
}

static void test_an_empty_root_is_given_everything(void **state)
{
    struct told told;
    struct stat there;
    char path[64], target[64] = "";

    (void)state;
    told_init(&told);
    in_root("/sys", path);
    assert_int_equal(mkdir(path, 0755), 0);
    in_root("/sys/fs", path);
    assert_int_equal(mkdir(path, 0755), 0); /* as sysfs has it */
    assert_int_equal(mounts_make(root, &told.tell), 0);
    assert_string_equal(told.all, "");
    assert_string_equal(kernel.mounted,
                        "devtmpfs /dev\nproc /proc\nsysfs /sys\ntmpfs /dev/shm\ndevpts /dev/pts\n"
                        "tmpfs /run\ntmpfs /tmp\ncgroup2 /sys/fs/cgroup\n");
    in_root("/proc", path);
    assert_int_equal(stat(path, &there), 0);
    in_root("/dev/stderr", path);
    assert_int_equal(readlink(path, target, sizeof target - 1), 15);
    assert_string_equal(target, "/proc/self/fd/2");
    /* Again: the links are there. */
    assert_int_equal(mounts_make(root, &told.tell), 0);
}

/* The real root has them all: nothing is mounted over what is there. */
static void test_what_is_there_is_left_alone(void **state)
{
    struct told told;

    (void)state;
    told_init(&told);
    mounts_make("", &told.tell);
    assert_null(strstr(kernel.mounted, "proc "));
}

static void test_files_of_the_image_stay_to_be_seen(void **state)
{
    struct told told;
    char path[64];

    (void)state;
    told_init(&told);
    in_root("/tmp", path);
    assert_int_equal(mkdir(path, 0755), 0);
    in_root("/tmp/file", path);
    assert_int_equal(mkdir(path, 0755), 0);
    mounts_make(root, &told.tell);
    assert_null(strstr(kernel.mounted, "tmpfs /tmp"));
    assert_non_null(strstr(kernel.mounted, "tmpfs /run"));
}

static void test_mounts_that_fail_are_told(void **state)
{
    struct told told;
    char path[64];
    unsigned failed;
    int fd;

    (void)state;
    told_init(&told);
    in_root("/dev", path);
    fd = open(path, O_CREAT | O_WRONLY, 0600); /* a file where a directory must be */
    assert_true(fd >= 0);
    close(fd);
    kernel.mount_code = EPERM;
    /* All eight mounts and four links have nowhere to be, or are refused. */
    failed = mounts_make(root, &told.tell);
    assert_int_equal(failed, 12);
    assert_int_equal(told.count, 12);
    assert_non_null(strstr(told.all, "cannot mount a proc at "));
    assert_non_null(strstr(told.all, "/dev/shm to mount a tmpfs there: "));
    assert_non_null(strstr(told.all, "cannot link "));
    kernel.mount_code = EBUSY; /* it is there already */
    told_init(&told);
    assert_true(mounts_make(root, &told.tell) < 12);
    assert_null(strstr(told.all, "mount a proc"));
}

/* ---- Loopback ---- */

static void test_loopback(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    kernel.flags = IFF_LOOPBACK;
    assert_int_equal(loopback_up(&err), 0);
    assert_int_equal(kernel.flags, IFF_LOOPBACK | IFF_UP);
    kernel.set_flags_code = EPERM;
    assert_int_equal(loopback_up(&err), 0); /* it is up */
    kernel.flags = IFF_LOOPBACK;
    assert_int_equal(loopback_up(&err), -EPERM);
    assert_non_null(strstr(err.text, "cannot bring the interface lo up: "));
    kernel.get_flags_code = ENODEV;
    assert_int_equal(loopback_up(&err), -ENODEV);
    fault_arm(FAULT_SOCKET, 1);
    assert_int_equal(loopback_up(&err), -EMFILE);
    fault_disarm();
}

/* ---- Entropy ---- */

static void test_entropy(void **state)
{
    struct error err = ERROR_INIT;
    bool counted = false;

    (void)state;
    assert_int_equal(entropy_seed(NSM, "/dev/null", &counted, &err), 0);
    assert_true(counted);
    assert_int_equal(kernel.seeded_bytes, ENTROPY_BYTES);
    assert_int_equal(kernel.seeded_bits, ENTROPY_BYTES * 8);
    assert_int_equal(random_calls, 11);
}

static void test_entropy_that_is_mixed_in_only(void **state)
{
    struct error err = ERROR_INIT;
    bool counted = true;

    (void)state;
    kernel.seed_code = EPERM;
    assert_int_equal(entropy_seed(NSM, "/dev/null", &counted, &err), 0);
    assert_false(counted);
}

static void test_entropy_that_fails(void **state)
{
    struct error err = ERROR_INIT;
    bool counted;

    (void)state;
    kernel.seed_code = EPERM;
    assert_int_equal(entropy_seed(NSM, "/dev/full", &counted, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "cannot seed /dev/full: "));
    assert_int_equal(entropy_seed(NSM, "/nowhere/random", &counted, &err), -ENOENT);
    random_calls = 0;
    random_fails_at = 3;
    assert_int_equal(entropy_seed(NSM, "/dev/null", &counted, &err), -EIO);
    assert_string_equal(err.text, "played");
}

/* ---- The machine ---- */

static void test_modules(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(machine_load_module("/dev/null", &err), 0);
    kernel.module_code = EEXIST;
    assert_int_equal(machine_load_module("/dev/null", &err), 0);
    kernel.module_code = ENOEXEC;
    assert_int_equal(machine_load_module("/dev/null", &err), -ENOEXEC);
    assert_non_null(strstr(err.text, "cannot load the kernel module /dev/null: "));
    assert_int_equal(machine_load_module("/nowhere/nsm.ko", &err), -ENOENT);
    assert_non_null(strstr(err.text, "cannot open the kernel module /nowhere/nsm.ko: "));
}

static void *answer(void *argument)
{
    const int *end = argument;
    unsigned char byte = 0;

    if (recv(end[0], &byte, 1, 0) == 1 && byte == 0xb7) {
        byte = (unsigned char)end[1];
        send(end[0], &byte, 1, MSG_NOSIGNAL);
    }
    shutdown(end[0], SHUT_RDWR);
    return NULL;
}

/* What nitro-cli answers; -1: it ends without. */
static int heartbeat_with(int byte, struct error *err)
{
    int ends[2], theirs[2], code;
    pthread_t thread;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    if (byte < 0) {
        close(ends[1]);
    } else {
        theirs[0] = ends[1];
        theirs[1] = byte;
        assert_int_equal(pthread_create(&thread, NULL, answer, theirs), 0);
    }
    kernel.connected_as = ends[0];
    code = machine_heartbeat(60000, err);
    close(ends[0]);
    if (byte >= 0) {
        pthread_join(thread, NULL);
        close(ends[1]);
    }
    return code;
}

static void test_heartbeat(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(heartbeat_with(0xb7, &err), 0);
    assert_int_equal(heartbeat_with(0xb8, &err), -EPROTO);
    assert_string_equal(err.text, "the answer to the heartbeat is not one");
    assert_int_equal(heartbeat_with(-1, &err), -EPIPE);
    assert_non_null(strstr(err.text, "cannot send the heartbeat: "));
    kernel.connect_code = ECONNRESET;
    assert_int_equal(heartbeat_with(-1, &err), -ECONNRESET);
    assert_non_null(strstr(err.text, "cannot connect to vsock://3:9000 for the heartbeat: "));
    kernel.timeout_code = ENOPROTOOPT;
    assert_int_equal(heartbeat_with(-1, &err), -ENOPROTOOPT);
    fault_arm(FAULT_SOCKET, 1);
    assert_int_equal(machine_heartbeat(1, &err), -EMFILE);
    fault_disarm();
}

static void test_nobody_answers_the_heartbeat(void **state)
{
    struct error err = ERROR_INIT;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(machine_heartbeat_over(ends[0], &err), -EAGAIN);
    assert_non_null(strstr(err.text, "no answer to the heartbeat: "));
    close(ends[0]);
    close(ends[1]);
}

static void test_whose_machine_it_is(void **state)
{
    (void)state;
    kernel.pid = 1;
    machine_is_ours(); /* whatever runs the tests may be a container, or not */
    kernel.pid = 2;
    assert_false(machine_is_ours());
}

static void test_the_end(void **state)
{
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(machine_end(false, &err), -EPERM);
    assert_int_equal(kernel.reboot_with, RB_AUTOBOOT);
    assert_non_null(strstr(err.text, "cannot end the machine: "));
    assert_int_equal(machine_end(true, &err), -EPERM);
    assert_int_equal(kernel.reboot_with, RB_POWER_OFF);
}

static void test_telling(void **state)
{
    static char text[2 * TELL_MAX];
    struct told told;

    (void)state;
    told_init(&told);
    tell(&told.tell, "%s %d", "one", 2);
    assert_string_equal(told.all, "one 2\n");
    memset(text, 'x', sizeof text - 1);
    tell(&told.tell, "%s", text);
    assert_int_equal(strlen(told.all), 6 + TELL_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_empty_root_is_given_everything, make_root, remove_root),
        cmocka_unit_test_setup(test_what_is_there_is_left_alone, begin),
        cmocka_unit_test_setup_teardown(test_files_of_the_image_stay_to_be_seen, make_root, remove_root),
        cmocka_unit_test_setup_teardown(test_mounts_that_fail_are_told, make_root, remove_root),
        cmocka_unit_test_setup(test_loopback, begin),
        cmocka_unit_test_setup(test_entropy, begin),
        cmocka_unit_test_setup(test_entropy_that_is_mixed_in_only, begin),
        cmocka_unit_test_setup(test_entropy_that_fails, begin),
        cmocka_unit_test_setup(test_modules, begin),
        cmocka_unit_test_setup(test_heartbeat, begin),
        cmocka_unit_test_setup(test_nobody_answers_the_heartbeat, begin),
        cmocka_unit_test_setup(test_whose_machine_it_is, begin),
        cmocka_unit_test_setup(test_the_end, begin),
        cmocka_unit_test(test_telling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
