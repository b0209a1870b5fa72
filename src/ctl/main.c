/* posternctl: for operators. */
#include "ctl/ctl.h"
#include <signal.h>

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a daemon that goes away is an error to be told, and so is a reader */
    return ctl_main(argc, argv, stdout, stderr);
}
