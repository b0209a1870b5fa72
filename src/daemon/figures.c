/* Figures that are taken when somebody looks. */
#include "daemon/figures.h"
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void view_memory(struct process_figures *ret)
{
    uint64_t total, resident;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL) {
        return;
    }
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &total, &resident) == 2) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        ret->virtual_bytes = total * page;
        ret->resident_bytes = resident * page;
    }
    fclose(file);
}

/* Counting the entries of a large directory would hold up the loop; since Linux 6.2 its size is
 * their number. */
static uint64_t count_descriptors(void)
{
    struct stat status;
    uint64_t count = 0;
    if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0) {
        return (uint64_t)status.st_size;
    }
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count > 0 ? count - 1 : 0; /* but for the one that was opened to count them */
}

void figures_of_process(struct process_figures *ret)
{
    struct timespec cpu;
    struct rlimit limit;
    *ret = (struct process_figures){.open_fds = count_descriptors()};
    view_memory(ret);
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
        ret->cpu_us = (uint64_t)cpu.tv_sec * 1000000 + (uint64_t)cpu.tv_nsec / 1000;
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        ret->max_fds = limit.rlim_cur;
    }
}

void figures_of_dns(const struct server_view *view, struct dns_figures *ret)
{
    *ret = (struct dns_figures){.queries = 0};
    for (unsigned i = 0; i < view->worker_count; i++) {
        const struct resolver_stats *stats = view->workers[i].dns;
        if (stats == NULL) {
            continue; /* a worker that is not up yet */
        }
        ret->queries += counter_get(&stats->queries);
        ret->hits += counter_get(&stats->hits);
        ret->stale_served += counter_get(&stats->stale_served);
        ret->failures += counter_get(&stats->failures);
        ret->timeouts += counter_get(&stats->timeouts);
        ret->not_found += counter_get(&stats->not_found);
        ret->cached += counter_get(&stats->cached);
    }
}

void figures_of_upstreams(const struct server_view *view, struct upstream_figures *ret)
{
    *ret = (struct upstream_figures){.opened = 0};
    for (unsigned i = 0; i < view->worker_count; i++) {
        const struct forward_stats *stats = view->workers[i].upstreams;
        if (stats == NULL) {
            continue; /* as above */
        }
        ret->opened += counter_get(&stats->opened);
        ret->failed += counter_get(&stats->failed);
        ret->reused += counter_get(&stats->reused);
        ret->retried += counter_get(&stats->retried);
        ret->resumed += counter_get(&stats->resumed);
        ret->open += counter_get(&stats->open);
        ret->idle += counter_get(&stats->idle);
    }
}
