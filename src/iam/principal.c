/* Principals as policies name them: see principal.h. */
#include "iam/principal.h"
#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Pieces of a text that is somebody else's. */
struct piece {
    const char *data;
    size_t size;
};

/* arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE */
struct arn {
    struct piece partition, service, account;
    const char *resource;
};

static bool piece_is(struct piece piece, const char *text)
{
    return piece.size == strlen(text) && memcmp(piece.data, text, piece.size) == 0;
}

static bool same(struct piece a, struct piece b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static bool is_account_number(struct piece piece)
{
    size_t digits = 0;

    while (digits < piece.size && isdigit((unsigned char)piece.data[digits])) {
        digits++;
    }
    return piece.size == IAM_ACCOUNT_DIGITS && digits == piece.size;
}

static bool read_arn(const char *text, struct arn *ret)
{
    struct piece pieces[5];

    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        pieces[i] = (struct piece){text, strcspn(text, ":")};
        if (text[pieces[i].size] == '\0') {
            return false;
        }
        text += pieces[i].size + 1;
    }
    *ret = (struct arn){pieces[1], pieces[2], pieces[4], text};
    return piece_is(pieces[0], "arn") && pieces[1].size > 0 && pieces[3].size == 0 &&
           is_account_number(pieces[4]);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0 && text[strlen(with)] != '\0';
}

/* What is left of a principal that was deleted. It means nobody. */
static bool is_left_over(const char *text)
{
    return (strncmp(text, "AIDA", 4) == 0 || strncmp(text, "AROA", 4) == 0) &&
           text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")] == '\0';
}

bool iam_principal_valid(const char *principal)
{
    struct arn arn;
    struct piece whole = {principal, strlen(principal)};

    if (strcmp(principal, "*") == 0 || is_account_number(whole) || is_left_over(principal)) {
        return true;
    }
    if (strpbrk(principal, "*?") || !read_arn(principal, &arn)) {
        return false;
    }
    if (piece_is(arn.service, "iam")) {
        return strcmp(arn.resource, "root") == 0 || begins(arn.resource, "user/") ||
               begins(arn.resource, "role/");
    }
    return piece_is(arn.service, "sts") &&
           (begins(arn.resource, "assumed-role/") || begins(arn.resource, "federated-user/"));
}

static bool read_account(const char *principal, struct piece *ret)
{
    struct arn arn;

    *ret = (struct piece){principal, strlen(principal)};
    if (is_account_number(*ret)) {
        return true;
    }
    if (!read_arn(principal, &arn)) {
        return false;
    }
    *ret = arn.account;
    return true;
}

bool iam_principal_account(const char *principal, char account[IAM_ACCOUNT_DIGITS + 1])
{
    struct piece number;

    if (!read_account(principal, &number)) {
        return false;
    }
    memcpy(account, number.data, IAM_ACCOUNT_DIGITS);
    account[IAM_ACCOUNT_DIGITS] = '\0';
    return true;
}

bool iam_principal_is_account(const char *principal)
{
    struct arn arn;

    if (is_account_number((struct piece){principal, strlen(principal)})) {
        return true;
    }
    return read_arn(principal, &arn) && piece_is(arn.service, "iam") && strcmp(arn.resource, "root") == 0;
}

/* A session's ARN has the role's name, but not its path: role/some/path/NAME, assumed-role/NAME/SESSION. */
static bool is_session_of(const struct arn *session, const struct arn *role)
{
    if (!piece_is(session->service, "sts") || !begins(session->resource, "assumed-role/") ||
        !piece_is(role->service, "iam") || !begins(role->resource, "role/") ||
        !same(session->partition, role->partition) || !same(session->account, role->account)) {
        return false;
    }
    const char *name = strrchr(role->resource, '/') + 1;
    const char *of = strchr(session->resource, '/') + 1;
    return same((struct piece){of, strcspn(of, "/")}, (struct piece){name, strlen(name)});
}

enum iam_named iam_principal_means(const char *named, const char *caller)
{
    struct arn role, session;
    struct piece account, of;

    if (strcmp(named, "*") == 0) {
        return IAM_NAMED;
    }
    if (iam_principal_is_account(named)) {
        return read_account(named, &account) && read_account(caller, &of) && same(account, of)
                   ? IAM_NAMED_BY_ACCOUNT
                   : IAM_NAMED_NOT;
    }
    if (strcmp(named, caller) == 0) {
        return IAM_NAMED;
    }
    return read_arn(named, &role) && read_arn(caller, &session) && is_session_of(&session, &role)
               ? IAM_NAMED
               : IAM_NAMED_NOT;
}
