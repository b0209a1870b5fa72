/*
 * posternctl policy explain: what a key policy really allows, to whom, by evaluating it for each principal that it names, each of the
 * operations that take a Recipient, and four callers.
 */
#include "ctl/policy.h"
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define PRINCIPALS_MAX 64
#define NO_STATEMENT   SIZE_MAX

enum caller { UNATTESTED, ATTESTED, OTHER_IMAGE, DEBUG, CALLERS };

static const char *const caller_names[CALLERS] = {"unattested", "attested", "other image", "debug"};
static const char *const caller_keys[CALLERS] = {"unattested", "attested", "other_image", "debug"};

static const char zero[] = "000000000000000000000000000000000000000000000000"
                           "000000000000000000000000000000000000000000000000";

/* Of an image that no policy names. */
static const char other[] = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
                            "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

/* What lets a principal in by a way that no attestation guards. */
static const struct {
    const char *action, *how;
} ways_around[] = {
    {"kms:PutKeyPolicy", "write a key policy that lets it in; only whoever administers the key should"},
    {"kms:CreateGrant", "give out the key's use by grants, which know no attestation"},
    {"kms:ReEncryptFrom",
     "have a ciphertext encrypted anew under a key of its own, and decrypt it with that"},
    {"kms:ReplicateKey", "make a copy of a multi-region key, with a policy of its own"},
};

/* What is allowed to one principal. */
struct table {
    const char *principal; /* of the policy's, or the command line's */
    const char *kind;      /* such as Service; NULL: AWS, the one kind that may send an attestation */
    struct iam_verdict cells[CALLERS][IAM_KMS_OPERATIONS];
};

struct explanation {
    const struct policy_arguments *arguments;
    struct iam_policy policy;
    struct policy_warnings warnings;
    char other_pcrs[IAM_KMS_PCRS][POLICY_PCR_HEX + 1];
    struct table *tables; /* owned */
    size_t count;
    bool leaks;
    bool only_attested;
};

/* ---- Who is asked about ---- */

static bool is_same_kind(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Of no use to anybody: what a principal that was deleted has left. */
static bool is_left_over(const char *kind, const char *name)
{
    return !kind && !strchr(name, ':') && strlen(name) > IAM_ACCOUNT_DIGITS;
}

static int add_principal(struct explanation *all, const char *kind, const char *name, struct error *err)
{
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->tables[i].principal, name) == 0 && is_same_kind(all->tables[i].kind, kind)) {
            return 0;
        }
    }
    if (all->count == PRINCIPALS_MAX) {
        return error_set(err, -E2BIG, "it names more than %d principals: say --principal", PRINCIPALS_MAX);
    }
    if (!is_left_over(kind, name)) {
        all->tables[all->count++] = (struct table){.principal = name, .kind = kind};
    }
    return 0;
}

static int add_list(struct explanation *all, const char *kind, const json_t *list, struct error *err)
{
    int rv = 0;

    for (size_t i = 0; rv == 0 && i < iam_list_size(list); i++) {
        rv = add_principal(all, kind, json_string_value(iam_list_at(list, i)), err);
    }
    return rv;
}

/* Of one statement. */
static int add_named(struct explanation *all, json_t *principal, struct error *err)
{
    const char *kind;
    json_t *list;
    int rv = 0;

    if (json_is_string(principal)) {
        return add_list(all, NULL, principal, err);
    }
    json_object_foreach(principal, kind, list)
    {
        rv = rv == 0 ? add_list(all, strcmp(kind, "AWS") == 0 ? NULL : kind, list, err) : rv;
    }
    return rv;
}

static int add_principals(struct explanation *all, struct error *err)
{
    int rv = 0;

    if (all->arguments->principal) {
        return add_principal(all, NULL, all->arguments->principal, err);
    }
    for (size_t i = 0; rv == 0 && i < all->policy.count; i++) {
        rv = add_named(all, all->policy.statements[i].principal, err);
    }
    return rv;
}

/* ---- What they may ---- */

/*
 * One of those who may be meant by a caller. Which other image it is, is for who builds it to choose, and what enclave is in debug mode for who
 * starts it.
 */
struct variant {
    enum caller caller;
    unsigned same; /* of another image, the PCR in which it is like the measured one */
    bool tried;    /* it is one of many images */
    bool
        bare; /* of another image: it is not signed; in debug mode: there is no role, and nothing else is measured */
    bool tpm; /* of who has no enclave's attestation: an instance that attests by its TPM */
};

#define NONE IAM_KMS_PCRS

static bool is_of_build(unsigned pcr)
{
    return pcr <= 2 || pcr == 8;
}

/*
 * Another image differs from the measured one in PCR0 and PCR8, and in its kernel (PCR1) or in its application (PCR2), maybe not in both:
 * all images that a release of nitro-cli builds have the same kernel, and an application is at its kernel's mercy. All other PCRs may be the
 * same.
 */
static bool is_other(const struct variant *variant, unsigned pcr)
{
    return variant->caller == OTHER_IMAGE && is_of_build(pcr) && pcr != variant->same;
}

/* A debug enclave has zeros for its image, but its role and instance are measured, and it may extend what is left to it. */
static bool is_zero_of(const struct variant *variant, unsigned pcr)
{
    return variant->caller == DEBUG ? variant->bare || is_of_build(pcr)
                                    : variant->caller == OTHER_IMAGE && variant->bare && pcr == 8;
}

/* Every digit another one. */
static void make_other_image(struct explanation *all)
{
    for (unsigned i = 0; i < IAM_KMS_PCRS; i++) {
        const char *pcr = all->arguments->measured.pcrs[i];
        memcpy(all->other_pcrs[i], other, sizeof other);
        for (size_t j = 0; pcr[j] != '\0'; j++) {
            all->other_pcrs[i][j] = pcr[j] == 'f' ? '1' : 'f';
        }
    }
}

/* What is measured, and a PCR8 of zero for an image that is not signed. */
static const char *attested_pcr(const struct explanation *all, unsigned index)
{
    const struct policy_measured *measured = &all->arguments->measured;

    return index == 8 && measured->pcrs[8][0] == '\0' ? zero : measured->pcrs[index];
}

static const char *pcr_of(const struct explanation *all, const struct variant *variant, unsigned index)
{
    if (is_zero_of(variant, index)) {
        return zero;
    }
    return is_other(variant, index) ? all->other_pcrs[index] : attested_pcr(all, index);
}

static void make_request(const struct explanation *all, const char *principal, const struct variant *variant,
                         struct iam_kms_request *ret)
{
    iam_kms_request_init(ret, principal, NULL);
    if (variant->caller == UNATTESTED) {
        if (variant->tpm) {
            iam_kms_request_tpm(ret);
        }
        return;
    }
    iam_kms_request_attested(ret, false);
    for (unsigned i = 0; i < IAM_KMS_PCRS; i++) {
        const char *pcr = pcr_of(all, variant, i);
        if (pcr[0] != '\0') {
            iam_kms_request_pcr(ret, i, pcr,
                                variant->tried && is_other(variant, i) && !is_zero_of(variant, i));
        }
    }
}

/* How much there is to fear. */
static int badness(const struct iam_verdict *verdict)
{
    if (verdict->decision == IAM_ALLOWED) {
        return 2;
    }
    return verdict->decision == IAM_UNKNOWN ? 1 : 0;
}

/* The worst of all that are meant by a caller. */
static void fear(const struct explanation *all, struct table *table, const struct variant *variant)
{
    struct iam_kms_request request;
    struct iam_verdict verdict, *cells = table->cells[variant->caller];

    make_request(all, table->principal, variant, &request);
    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        request.request.action = iam_kms_operations[i];
        iam_evaluate(&all->policy, &request.request, &verdict);
        if (badness(&verdict) > badness(&cells[i])) {
            cells[i] = verdict;
        }
    }
}

static void fear_images(const struct explanation *all, struct table *table)
{
    static const unsigned same[] = {NONE, 1, 2};

    for (size_t i = 0; i < ARRAY_SIZE(same) * 4; i++) {
        fear(all, table,
             &(struct variant){.caller = OTHER_IMAGE, .same = same[i / 4], .tried = i & 1, .bare = i & 2});
    }
}

static void fill(const struct explanation *all, struct table *table)
{
    fear(all, table, &(struct variant){.caller = UNATTESTED});
    if (table->kind) {
        return;
    }
    fear(all, table, &(struct variant){.caller = UNATTESTED, .tpm = true});
    fear(all, table, &(struct variant){.caller = ATTESTED});
    fear(all, table, &(struct variant){.caller = DEBUG, .bare = true});
    fear(all, table, &(struct variant){.caller = DEBUG});
    fear_images(all, table);
}

static bool refused(const struct iam_verdict *verdict)
{
    return verdict->decision == IAM_NOT_ALLOWED || verdict->decision == IAM_DENIED;
}

static bool any_cell(const struct explanation *all,
                     bool (*is)(enum caller caller, const struct iam_verdict *verdict))
{
    for (size_t i = 0; i < all->count * CALLERS * IAM_KMS_OPERATIONS; i++) {
        enum caller caller = (enum caller)(i / IAM_KMS_OPERATIONS % CALLERS);
        const struct table *table = &all->tables[i / IAM_KMS_OPERATIONS / CALLERS];
        if (is(caller, &table->cells[caller][i % IAM_KMS_OPERATIONS])) {
            return true;
        }
    }
    return false;
}

static bool is_leak(enum caller caller, const struct iam_verdict *verdict)
{
    return caller != ATTESTED && !refused(verdict);
}

static bool is_purpose(enum caller caller, const struct iam_verdict *verdict)
{
    return caller == ATTESTED && verdict->decision == IAM_ALLOWED;
}

static void look_for_ways_around(struct explanation *all, const char *principal)
{
    struct iam_kms_request request;
    struct iam_verdict verdict;

    make_request(all, principal, &(struct variant){.caller = UNATTESTED}, &request);
    for (size_t i = 0; i < ARRAY_SIZE(ways_around); i++) {
        request.request.action = ways_around[i].action;
        iam_evaluate(&all->policy, &request.request, &verdict);
        if (!refused(&verdict)) {
            policy_warn(&all->warnings, verdict.decision == IAM_ALLOWED ? verdict.statement : NO_STATEMENT,
                        "%s %s %s: it can %s", principal,
                        verdict.decision == IAM_ALLOWED ? "may" : "perhaps may", ways_around[i].action,
                        ways_around[i].how);
        }
    }
}

/* ---- What is shown ---- */

static const char *word(const struct explanation *all, enum caller caller, const struct iam_verdict *verdict)
{
    if (caller == ATTESTED && !all->arguments->measurements) {
        return "-";
    }
    if (verdict->decision == IAM_ALLOWED) {
        return verdict->through_account ? "by account" : "allowed";
    }
    return verdict->decision == IAM_UNKNOWN ? "unknown" : "refused";
}

/* The policy may be anybody's, and a terminal obeys what it is shown. */
static void put(const struct ctl *ctl, const char *text)
{
    struct text safe = TEXT_INIT;

    text_add_json(&safe, text, strlen(text));
    fputs(text_string(&safe), ctl->out);
    text_release(&safe);
}

static void print_table(const struct ctl *ctl, const struct explanation *all, const struct table *table)
{
    if (table->kind) {
        fprintf(ctl->out, "%s ", table->kind);
    }
    put(ctl, strcmp(table->principal, "*") == 0 ? "* (anybody with an account at AWS)" : table->principal);
    fprintf(ctl->out, "\n  %-22s", "");
    for (enum caller caller = 0; caller < CALLERS; caller++) {
        fprintf(ctl->out, caller + 1 < CALLERS ? "%-13s" : "%s", caller_names[caller]);
    }
    for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
        fprintf(ctl->out, "\n  %-22s", iam_kms_operations[i] + 4);
        for (enum caller caller = 0; caller < CALLERS; caller++) {
            fprintf(ctl->out, caller + 1 < CALLERS ? "%-13s" : "%s",
                    word(all, caller, &table->cells[caller][i]));
        }
    }
    fputs("\n", ctl->out);
}

/* The first thing of each kind that the table leaves open. */
static void print_footnotes(const struct ctl *ctl, const struct explanation *all)
{
    const struct iam_verdict *account = NULL, *unknown = NULL;

    for (size_t i = 0; i < all->count * CALLERS * IAM_KMS_OPERATIONS; i++) {
        enum caller caller = (enum caller)(i / IAM_KMS_OPERATIONS % CALLERS);
        const struct iam_verdict *verdict =
            &all->tables[i / IAM_KMS_OPERATIONS / CALLERS].cells[caller][i % IAM_KMS_OPERATIONS];
        bool shown = caller != ATTESTED || all->arguments->measurements;
        account = shown && !account && verdict->through_account ? verdict : account;
        unknown = shown && !unknown && verdict->decision == IAM_UNKNOWN ? verdict : unknown;
    }
    if (account) {
        fprintf(ctl->out, "by account: Statement[%zu] leaves it to the policies of the account\n",
                account->statement);
    }
    if (unknown) {
        fputs("unknown: ", ctl->out);
        put(ctl, unknown->why.text);
        fputs("\n", ctl->out);
    }
}

static void print_warnings(const struct ctl *ctl, const struct explanation *all)
{
    for (size_t i = 0; i < all->warnings.count; i++) {
        const struct policy_warning *warning = &all->warnings.list[i];
        fputs("warning: ", ctl->out);
        if (warning->statement != NO_STATEMENT) {
            const char *sid = all->policy.statements[warning->statement].sid;
            fprintf(ctl->out, "Statement[%zu]%s", warning->statement, sid ? " (" : ": ");
            put(ctl, sid ? sid : "");
            fputs(sid ? "): " : "", ctl->out);
        }
        put(ctl, text_string(&warning->text));
        fputs("\n", ctl->out);
    }
    if (all->warnings.more) {
        fputs("warning: and more\n", ctl->out);
    }
}

static const char *verdict_words(const struct explanation *all)
{
    if (all->only_attested) {
        return all->arguments->measurements ? "only the attested enclave gets in"
                                            : "nobody gets in without an attestation of an image it names";
    }
    return all->leaks ? "others than the attested enclave get in, or may"
                      : "the attested enclave does not get in, or may not";
}

static json_t *table_json(const struct explanation *all, const struct table *table)
{
    json_t *callers = json_object();

    for (enum caller caller = 0; caller < CALLERS; caller++) {
        json_t *operations = json_object();
        for (size_t i = 0; i < IAM_KMS_OPERATIONS; i++) {
            const char *is = word(all, caller, &table->cells[caller][i]);
            json_object_set_new(operations, iam_kms_operations[i] + 4,
                                strcmp(is, "-") == 0
                                    ? json_null()
                                    : json_string(strcmp(is, "by account") == 0 ? "by_account" : is));
        }
        json_object_set_new(callers, caller_keys[caller], operations);
    }
    return json_pack("{s:s, s:o}", "principal", table->principal, "callers", callers);
}

static json_t *warning_json(const struct policy_warning *warning)
{
    return json_pack("{s:o, s:s}", "statement",
                     warning->statement == NO_STATEMENT ? json_null()
                                                        : json_integer((json_int_t)warning->statement),
                     "text", text_string(&warning->text));
}

static json_t *to_json(const struct explanation *all)
{
    json_t *tables = json_array(), *warnings = json_array();

    for (size_t i = 0; i < all->count; i++) {
        json_array_append_new(tables, table_json(all, &all->tables[i]));
    }
    for (size_t i = 0; i < all->warnings.count; i++) {
        json_array_append_new(warnings, warning_json(&all->warnings.list[i]));
    }
    return json_pack("{s:b, s:s, s:o, s:o}", "only_attested", all->only_attested, "verdict",
                     verdict_words(all), "principals", tables, "warnings", warnings);
}

static int tell(const struct ctl *ctl, const struct explanation *all)
{
    int code = CTL_DONE;

    if (ctl->json) {
        code = ctl_print_json(ctl, to_json(all));
    } else {
        for (size_t i = 0; i < all->count; i++) {
            print_table(ctl, all, &all->tables[i]);
        }
        print_footnotes(ctl, all);
        print_warnings(ctl, all);
        fprintf(ctl->out, "%s\n", verdict_words(all));
    }
    return all->only_attested ? code : CTL_FAILED;
}

/* ---- The whole ---- */

static int explain(const struct ctl *ctl, struct explanation *all)
{
    struct error err = ERROR_INIT;

    all->count = 0;
    all->tables = calloc(PRINCIPALS_MAX, sizeof *all->tables);
    if (!all->tables) {
        return ctl_failed(ctl, "cannot explain the policy: out of memory");
    }
    if (add_principals(all, &err) != 0) {
        return ctl_failed(ctl, err.text);
    }
    make_other_image(all);
    policy_look(&all->policy, &all->warnings);
    for (size_t i = 0; i < all->count; i++) {
        fill(all, &all->tables[i]);
        look_for_ways_around(all, all->tables[i].principal);
    }
    all->leaks = any_cell(all, is_leak);
    all->only_attested = !all->leaks && (!all->arguments->measurements || any_cell(all, is_purpose));
    return tell(ctl, all);
}

/* A line each. */
static int tell_mistakes(const struct ctl *ctl, const char *file, const char *mistakes)
{
    struct text told = TEXT_INIT;

    for (const char *line = mistakes; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        text_addf(&told, "%s: %.*s\n", strcmp(file, "-") == 0 ? "standard input" : file, (int)length, line);
        line += length + (line[length] == '\n');
    }
    int code = ctl_failed(ctl, told.failed ? mistakes : text_string(&told));
    text_release(&told);
    return code;
}

static int read_policy(const struct ctl *ctl, const char *file, struct iam_policy *policy)
{
    struct error err = ERROR_INIT;
    struct text mistakes = TEXT_INIT;
    size_t size = 0;
    char *data = policy_load(file, IAM_POLICY_MAX, &size, &err);

    if (!data) {
        return ctl_failed(ctl, err.text);
    }
    int rv = iam_policy_read(policy, data, size, &mistakes);
    free(data);
    if (rv != 0) {
        (void)(rv == -ENOMEM ? ctl_failed(ctl, "cannot read the policy: out of memory")
                             : tell_mistakes(ctl, file, text_string(&mistakes)));
    }
    text_release(&mistakes);
    return rv == 0 ? CTL_DONE : CTL_FAILED;
}

int policy_explain(const struct ctl *ctl, struct policy_arguments *arguments)
{
    struct error err = ERROR_INIT;

    if (policy_measure(arguments, &err) != 0) {
        return ctl_failed(ctl, err.text);
    }
    struct explanation *all = calloc(1, sizeof *all);
    if (!all) {
        return ctl_failed(ctl, "cannot explain the policy: out of memory");
    }
    all->arguments = arguments;
    int code = read_policy(ctl, arguments->file, &all->policy);
    if (code == CTL_DONE) {
        code = explain(ctl, all);
        iam_policy_release(&all->policy);
    }
    policy_warnings_release(&all->warnings);
    free(all->tables);
    free(all);
    return code;
}
