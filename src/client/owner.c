/* Whether the caller's process made a connection: see owner.h. */
#include "client/owner.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE sizeof(bool) /* of which the kernel makes a page */

static bool *map_page(void)
{
    void *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED) {
        return NULL;
    }
    if (madvise(page, SIZE, MADV_WIPEONFORK) != 0) {
        (void)munmap(page, SIZE);
        return NULL;
    }
    return page;
}

void owner_init(struct owner *owner)
{
    bool *page = map_page();

    if (page) {
        *page = true;
    }
    owner->page = page;
    owner->pid = getpid();
}

void owner_release(struct owner *owner)
{
    if (owner->page) {
        (void)munmap((void *)owner->page, SIZE);
        owner->page = NULL;
    }
}

bool owner_is_caller(const struct owner *owner)
{
    return owner->page ? *owner->page : getpid() == owner->pid;
}
