/* postern: the client of the framed protocol, inside the enclave. */
#include "cli/cli.h"
#ifdef POSTERN_KMS
#include "cli/kmstool.h"
#endif
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

/* An init may start us without any. A socket of ours must not become standard output. */
static int have_standard_files(void)
{
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    return fd < 0 ? -1 : close(fd);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away is an error to be told */
    if (have_standard_files() != 0) {
        return CLI_FAILED;
    }
#ifdef POSTERN_KMS
    if (argc > 0 && kmstool_is_name(argv[0])) {
        return kmstool_main(argc, argv, stdout, stderr);
    }
#endif
    return cli_main(argc, argv, stdout, stderr);
}
