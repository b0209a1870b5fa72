/* posternctl policy: its command line. What it does is in policy_kms.c and policy_explain.c. */
#include "ctl/policy.h"
#include "iam/principal.h"
#include <string.h>

enum option_id {
    OPTION_MEASUREMENTS = 1,
    OPTION_PCR,
    OPTION_PRINCIPAL,
    OPTION_ACTION,
    OPTION_ROLE,
    OPTION_INSTANCE,
    OPTION_DEBUG
};

static const struct option options[] = {
    {"measurements", required_argument, NULL, OPTION_MEASUREMENTS},
    {"pcr", required_argument, NULL, OPTION_PCR},
    {"principal", required_argument, NULL, OPTION_PRINCIPAL},
    {"action", required_argument, NULL, OPTION_ACTION},
    {"role-arn", required_argument, NULL, OPTION_ROLE},
    {"instance-id", required_argument, NULL, OPTION_INSTANCE},
    {"allow-debug", no_argument, NULL, OPTION_DEBUG},
    {NULL, 0, NULL, 0},
};

/* What is left of a principal that was deleted is one to a policy, but nobody that may be asked about. */
static bool is_somebody(const char *principal)
{
    char account[IAM_ACCOUNT_DIGITS + 1];

    return strcmp(principal, "*") == 0 ||
           (iam_principal_valid(principal) && iam_principal_account(principal, account));
}

static bool is_instance(const char *id)
{
    return strncmp(id, "i-", 2) == 0 && id[2] != '\0' && id[2 + strspn(id + 2, "0123456789abcdef")] == '\0';
}

/* Returns what the value ought to have been, or NULL when it was taken. */
static const char *take_option(int option, struct policy_arguments *arguments)
{
    switch (option) {
    case OPTION_MEASUREMENTS:
        arguments->measurements = optarg;
        return NULL;
    case OPTION_PCR:
        arguments->pcrs = optarg;
        return NULL;
    case OPTION_PRINCIPAL:
        arguments->principal = optarg;
        return is_somebody(optarg) ? NULL : "--principal wants an account's number, or an ARN in full";
    case OPTION_ACTION:
        arguments->actions = optarg;
        return NULL;
    case OPTION_ROLE:
        arguments->role = optarg;
        return iam_principal_valid(optarg) && strstr(optarg, ":role/")
                   ? NULL
                   : "--role-arn wants arn:aws:iam::ACCOUNT:role/NAME";
    case OPTION_INSTANCE:
        arguments->instance = optarg;
        return is_instance(optarg) ? NULL
                                   : "--instance-id wants an instance's id, such as i-0123456789abcdef0";
    default:
        arguments->allow_debug = true;
        return NULL;
    }
}

/* 0, or CTL_OPTIONS_STOP. */
static int take_arguments(struct ctl *ctl, int argc, char **argv, struct policy_arguments *arguments,
                          int *ret_code)
{
    int option;

    while ((option = ctl_next_option(ctl, argc, argv, options, ret_code)) > 0) {
        const char *wrong = take_option(option, arguments);
        if (wrong) {
            *ret_code = ctl_usage_error(ctl, "%s, not \"%s\"", wrong, optarg);
            return CTL_OPTIONS_STOP;
        }
    }
    return option == CTL_OPTIONS_STOP ? option : 0;
}

int ctl_policy(struct ctl *ctl, int argc, char **argv)
{
    struct policy_arguments arguments = {.file = NULL};
    int code;

    if (take_arguments(ctl, argc, argv, &arguments, &code) == CTL_OPTIONS_STOP) {
        return code;
    }
    argc -= optind;
    argv += optind;
    if (argc == 1 && strcmp(argv[0], "kms") == 0) {
        return policy_kms(ctl, &arguments);
    }
    if (argc == 2 && strcmp(argv[0], "explain") == 0) {
        arguments.file = argv[1];
        if (arguments.actions || arguments.pcrs || arguments.allow_debug) {
            return ctl_usage_error(ctl, "explain takes no --action, --pcr or --allow-debug");
        }
        return policy_explain(ctl, &arguments);
    }
    return ctl_usage_error(
        ctl, "policy wants `kms --measurements FILE`, or `explain FILE`, where FILE may be - for "
             "standard input");
}
