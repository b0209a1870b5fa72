/* The commands of posternctl spool that touch files: export, and set-aside. */
#include "config/config.h"
#include "ctl/client.h"
#include "ctl/load.h"
#include "ctl/spool.h"
#include "spool/spool.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Export ---- */

static int write_all(void *data, const char *bytes, size_t size)
{
    const int *fd = data;
    while (size > 0) {
        ssize_t count = write(*fd, bytes, size);
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
        bytes += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
    }
    return 0;
}

static int save(const struct ctl *ctl, const char *target, int fd)
{
    struct client_answer answer;
    struct error err = ERROR_INIT;
    client_time_ms = SPOOL_ASK_MS;
    int r = client_save(ctl->socket, target, write_all, &fd, &answer, &err);
    int code = r != 0                 ? ctl_failed(ctl, err.text)
               : answer.status != 200 ? spool_refused(ctl, &answer)
                                      : CTL_DONE;
    text_release(&answer.body);
    return code;
}

/* Half a request must not be taken for a whole: what could not be finished is removed. */
static int save_as(const struct ctl *ctl, const char *target, const char *file)
{
    struct error err = ERROR_INIT;
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        int code = -errno;
        error_set(&err, code, "cannot make the file %s: %s%s", file, error_words(code),
                  code == -EEXIST ? "; it is not overwritten: give another name" : "");
        return ctl_failed(ctl, err.text);
    }
    int code = save(ctl, target, fd);
    if (close(fd) != 0 && code == CTL_DONE) {
        error_errno(&err, -errno, "cannot write the file %s", file);
        code = ctl_failed(ctl, err.text);
    }
    if (code != CTL_DONE) {
        (void)unlink(file);
    }
    return code;
}

int spool_export(const struct ctl *ctl, const char *id, const char *file)
{
    char target[64];
    snprintf(target, sizeof target, "/spool/export?id=%s", id);
    if (strcmp(file, "-") == 0) {
        fflush(ctl->out);
        return save(ctl, target, fileno(ctl->out));
    }
    int code = save_as(ctl, target, file);
    if (code == CTL_DONE && ctl->json) {
        return ctl_print_json(ctl, json_pack("{s:s}", "file", file));
    }
    return code;
}

/* ---- Setting aside ---- */

/* Only what cannot be opened is in the way. Whatever is fine, or in use, is left alone. */
static int may_be_set_aside(const char *path, struct error *err)
{
    const struct spool_options options = {.path = path, .manual = true};
    struct error why = ERROR_INIT;
    struct spool *spool;
    if (access(path, F_OK) != 0) {
        return error_errno(err, -errno, "there is no spool at %s", path);
    }
    int r = spool_open(&options, &spool, &why);
    if (r == 0) {
        spool_close(spool);
        return error_set(
            err, -EEXIST,
            "the spool at %s can be opened: there is nothing to set aside; `posternctl spool verify` "
            "finds single records that are damaged",
            path);
    }
    return r == -EUCLEAN ? 0 : error_set(err, r, "%s", why.text);
}

/* Root acts as the spool's user: what is looked at is that user's alone, and so is what is made. */
static int become_owner(const char *path, struct error *err)
{
    struct stat st;
    if (geteuid() != 0 || stat(path, &st) != 0 || st.st_uid == 0) {
        return 0; /* what is wrong with the path is told by who looks at it next */
    }
    if (setgroups(0, NULL) != 0 || setegid(st.st_gid) != 0 || seteuid(st.st_uid) != 0) {
        return error_errno(err, -errno, "cannot act as user %u, whose spool %s is", (unsigned)st.st_uid,
                           path);
    }
    return 0;
}

static int set_aside(const struct ctl *ctl, const char *path)
{
    char name[NAME_MAX + 1];
    struct error err = ERROR_INIT;
    if (become_owner(path, &err) != 0 || may_be_set_aside(path, &err) != 0 ||
        spool_set_aside(path, name, sizeof name, &err) != 0) {
        return ctl_failed(ctl, err.text);
    }
    if (ctl->json) {
        return ctl_print_json(ctl, json_pack("{s:s, s:s}", "path", path, "aside", name));
    }
    fprintf(ctl->out,
            "the damaged spool is in %s/%s now, whole; `posternctl reload` has the daemon begin a new one\n",
            path, name);
    return CTL_DONE;
}

int spool_put_aside(const struct ctl *ctl, const char *path)
{
    struct config *config;
    if (path != NULL) {
        return set_aside(ctl, path);
    }
    if (load_config(ctl, &config) != 0) {
        return CTL_FAILED;
    }
    int code = set_aside(ctl, config->spool.path);
    config_unref(config);
    return code;
}
