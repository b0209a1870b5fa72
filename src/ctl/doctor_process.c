/* What is seen as the daemon sees it: see doctor_process.h. */
#include "ctl/doctor_process.h"

#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Larger than the kernel lets one be by default (a quarter of the stack's bound). */
#define ENVIRONMENT_MAX ((size_t)4 * 1024 * 1024)

/* ---- The environment ---- */

/* Returns owned bytes with a zero behind them; NULL if there are none to be had. */
static char *read_whole(const char *path, size_t *ret_size)
{
    char *data = NULL;
    size_t size = 0, room = 0;
    FILE *file = fopen(path, "re");
    while (file != NULL && size < ENVIRONMENT_MAX) {
        char *grown = realloc(data, room + 4096 + 1);
        if (grown == NULL) {
            break;
        }
        data = grown;
        room += 4096;
        size_t count = fread(data + size, 1, room - size, file);
        size += count;
        if (count == 0) {
            break;
        }
    }
    bool whole = file != NULL && data != NULL && feof(file) && !ferror(file);
    if (file != NULL) {
        fclose(file);
    }
    if (!whole) {
        free(data);
        return NULL;
    }
    data[size] = '\0';
    *ret_size = size;
    return data;
}

static void look_at_environment(const char *proc, int pid, struct doctor_process *ret)
{
    char path[PATH_MAX];
    size_t size, count = 0;
    snprintf(path, sizeof path, "%s/%d/environ", proc, pid);
    ret->block = read_whole(path, &size);
    if (ret->block == NULL) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        count += ret->block[i] == '\0';
    }
    ret->environment = calloc(count + 2, sizeof *ret->environment); /* the last one may lack its end */
    char **next = ret->environment;
    for (char *at = ret->block; next != NULL && at < ret->block + size; at += strlen(at) + 1) {
        *next++ = at;
    }
}

char **doctor_environment_enter(const struct doctor_process *process)
{
    static char *none[] = {NULL};
    char **before = environ;
    environ = process->environment != NULL ? process->environment : none;
    return before;
}

void doctor_environment_leave(char **before)
{
    environ = before;
}

/* ---- The user ---- */

static void add_groups(struct doctor_process *process, const char *list)
{
    char *end;
    for (unsigned long group = strtoul(list, &end, 10);
         end != list && process->group_count < DOCTOR_GROUPS_MAX; group = strtoul(list, &end, 10)) {
        process->groups[process->group_count++] = (gid_t)group;
        list = end;
    }
}

/* A daemon in a container tells a number by which another process goes here. */
static bool is_daemon(const char *name)
{
    return strcmp(name, "posternd") == 0 || strcmp(name, "vsock-proxy") == 0;
}

/* "Uid:" and "Gid:" have four numbers each, of which the second is the effective one. Returns whether it is the daemon's. */
static bool look_at_status(const char *proc, int pid, struct doctor_process *ret)
{
    char path[PATH_MAX], line[1024], name[32] = "";
    unsigned uid, gid;
    snprintf(path, sizeof path, "%s/%d/status", proc, pid);
    FILE *file = fopen(path, "re");
    bool found = file != NULL && fgets(line, sizeof line, file) != NULL &&
                 sscanf(line, "Name: %31s", name) == 1 && is_daemon(name);
    while (found && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Uid: %*u %u", &uid) == 1) {
            ret->uid = uid;
            ret->has_user = true;
        } else if (sscanf(line, "Gid: %*u %u", &gid) == 1) {
            ret->groups[ret->group_count++] = gid;
        } else if (strncmp(line, "Groups:", strlen("Groups:")) == 0) {
            add_groups(ret, line + strlen("Groups:"));
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return found;
}

static void look_up_user(const char *name, struct doctor_process *ret)
{
    const struct passwd *user = getpwnam(name);
    int count = DOCTOR_GROUPS_MAX;
    if (user == NULL) {
        return;
    }
    ret->has_user = true;
    ret->uid = user->pw_uid;
    ret->group_count = getgrouplist(name, user->pw_gid, ret->groups, &count) >= 0 ? (unsigned)count : 0;
}

void doctor_process_look(const char *proc, int pid, const char *user, struct doctor_process *ret)
{
    *ret = (struct doctor_process){.running = pid > 0};
    if (pid == 0) {
        look_up_user(user, ret);
    } else if (look_at_status(proc, pid, ret)) {
        look_at_environment(proc, pid, ret);
    }
}

void doctor_process_release(struct doctor_process *process)
{
    free(process->environment);
    free(process->block);
    *process = (struct doctor_process){.running = false};
}

/* ---- Files ---- */

static bool in_group(const struct doctor_process *process, gid_t group)
{
    for (unsigned i = 0; i < process->group_count; i++) {
        if (process->groups[i] == group) {
            return true;
        }
    }
    return false;
}

/* `wanted` is 04 for reading, 01 for passing through. */
static bool may(const struct doctor_process *process, const char *path, mode_t wanted)
{
    struct stat status;
    if (stat(path, &status) != 0 || getxattr(path, "system.posix_acl_access", NULL, 0) >= 0) {
        return true;
    }
    unsigned shift = status.st_uid == process->uid ? 6 : in_group(process, status.st_gid) ? 3 : 0;
    return (status.st_mode >> shift & wanted) == wanted;
}

bool doctor_may_read(const struct doctor_process *process, const char *path)
{
    char above[PATH_MAX];
    if (!process->has_user || process->uid == 0 || path[0] != '/' || !may(process, path, 04)) {
        return !process->has_user || process->uid == 0 || path[0] != '/';
    }
    snprintf(above, sizeof above, "%s", path);
    while (strcmp(above, "/") != 0) {
        char *directory = dirname(above);
        if (!may(process, directory, 01)) {
            return false;
        }
        memmove(above, directory, strlen(directory) + 1);
    }
    return true;
}
