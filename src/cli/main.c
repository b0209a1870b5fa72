/* postern: the client of the framed protocol, inside the enclave. */
#include "cli/cli.h"
#ifdef POSTERN_KMS
#include "cli/json_memory.h"
#include "cli/kmstool.h"
#endif
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

/* An init may start us without any. A socket of ours must not become standard output. Where there is no /dev as yet, the numbers are taken by
 * what can neither be read nor written: `run` mounts it, and opens them then. */
static bool have_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0 && open("/", O_PATH) < 0) {
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error to be told */
    if (!have_standard_files()) {
        return CLI_FAILED;
    }
#ifdef POSTERN_KMS
    json_memory_wipe_all();
    if (argc > 0 && kmstool_is_name(argv[0])) {
        return kmstool_main(argc, argv, stdout, stderr);
    }
#endif
    return cli_main(argc, argv, stdout, stderr);
}
