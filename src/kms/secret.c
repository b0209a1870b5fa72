/*
 * Memory for secrets: see secret.h.
 *
 * A secret is a mapping of its own: a header, which remembers how large it is, and the bytes. So it shares no page with anything
 * else, and the flags that it is given concern nothing but it.
 */
#include "kms/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

struct header {
    size_t mapped;
    size_t length; /* as it was asked for */
};

/* The bytes begin where everything is aligned. */
#define HEADER_SIZE 64u

int secret_new(size_t length, struct postern_secret *ret)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (length == 0 || length > SIZE_MAX / 2) {
        return -ENOMEM;
    }
    size_t mapped = (HEADER_SIZE + length + page - 1) / page * page;
    struct header *header = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (header == MAP_FAILED) {
        return -ENOMEM;
    }
    /* What the system does not allow is done without: a secret that could be swapped is better than none, and an enclave has
     * no swap. A child process finds zeros. */
    (void)mlock(header, mapped);
    (void)madvise(header, mapped, MADV_DONTDUMP);
    (void)madvise(header, mapped, MADV_WIPEONFORK);
    *header = (struct header){.mapped = mapped, .length = length};
    *ret = (struct postern_secret){.data = (uint8_t *)header + HEADER_SIZE, .length = length};
    return 0;
}

void postern_secret_wipe(struct postern_secret *secret)
{
    if (secret && secret->data) {
        struct header *header = (struct header *)(void *)((uint8_t *)secret->data - HEADER_SIZE);
        size_t mapped = header->mapped;

        /* In a child process nothing is left of it, not even its size: that mapping goes with the process. */
        OPENSSL_cleanse(secret->data, header->length);
        if (mapped > 0) {
            munmap(header, mapped);
        }
    }
    if (secret) {
        *secret = (struct postern_secret){.data = NULL};
    }
}
