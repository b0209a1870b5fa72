/* From the NSM to the kernel's pool. */
#include "init/entropy.h"
#include "nsm/nsm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* struct rand_pool_info with its bytes. */
struct seed {
    int entropy_bits;
    int length;
    uint8_t bytes[ENTROPY_BYTES];
};

_Static_assert(offsetof(struct seed, bytes) == sizeof(struct rand_pool_info), "the kernel's layout");

static int draw(struct nsm *nsm, struct seed *seed, struct error *err)
{
    while (seed->length < (int)ENTROPY_BYTES) {
        uint8_t bytes[NSM_RANDOM_MAX];
        size_t length, room = ENTROPY_BYTES - (size_t)seed->length;
        int code = nsm_random(nsm, bytes, &length, err);

        if (code < 0) {
            return code;
        }
        length = length < room ? length : room;
        memcpy(seed->bytes + seed->length, bytes, length);
        seed->length += (int)length;
        explicit_bzero(bytes, sizeof bytes);
    }
    seed->entropy_bits = seed->length * 8;
    return 0;
}

static int mix(const char *pool, const struct seed *seed, bool *ret_counted, struct error *err)
{
    int code = 0, fd = open(pool, O_WRONLY | O_CLOEXEC);

    if (fd < 0) {
        return error_errno(err, -errno, "cannot open %s to seed it", pool);
    }
    *ret_counted = ioctl(fd, RNDADDENTROPY, seed) == 0;
    /* Whoever may not have it counted may still have it mixed in. */
    if (!*ret_counted && write(fd, seed->bytes, (size_t)seed->length) != seed->length) {
        code = error_errno(err, -errno, "cannot seed %s", pool);
    }
    close(fd);
    return code;
}

int entropy_seed(struct nsm *nsm, const char *pool, bool *ret_counted, struct error *err)
{
    struct seed seed = {.length = 0};
    int code = draw(nsm, &seed, err);

    if (code == 0) {
        code = mix(pool, &seed, ret_counted, err);
    }
    explicit_bzero(&seed, sizeof seed);
    return code;
}
