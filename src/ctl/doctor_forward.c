/* The doctor's look at what a forward route needs: its upstream, the files of its TLS, the secrets of its headers, and keys to sign
 * with. Values of secrets are made, judged and dropped, and never told. */
#include "base/text.h"
#include "ctl/doctor.h"
#include "ctl/doctor_process.h"
#include "ctl/doctor_reach.h"
#include "ctl/probe_upstream.h"
#include "http/values.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Files ---- */

/* Whether the daemon's user may read it; told if not. */
static bool check_readable(struct doctor *doctor, const struct config_route *route, const char *check,
                           const char *path)
{
    if (path == NULL || doctor_may_read(doctor->process, path)) {
        return true;
    }
    doctor_tell(doctor, FINDING_FAIL, check, route->name, "the daemon's user may not read %s", path);
    doctor_next(doctor, "namei -l %s; sudo setfacl -m u:%s:r %s", path, doctor->host->user, path);
    return false;
}

/* What we may not read, the daemon may. */
static bool is_ours_to_see(int code)
{
    return (code != -EACCES && code != -EPERM) || geteuid() == 0;
}

static void tell_unseen(struct doctor *doctor, const struct config_route *route, const char *check,
                        const char *words)
{
    doctor_tell(doctor, FINDING_SKIPPED, check, route->name, "%s", words);
    doctor_next_root(doctor, "root sees what the daemon sees");
}

/* ---- TLS ---- */

static struct tls_options options_of(const struct config_forward *forward)
{
    return (struct tls_options){
        .server_name = forward->server_name,
        .ca_file = forward->ca_file,
        .cert_file = forward->cert_file,
        .key_file = forward->key_file,
    };
}

static const char *or_nothing(const char *text)
{
    return text != NULL ? text : "";
}

static void next_handshake(struct doctor *doctor, const struct config_route *route)
{
    const struct config_forward *forward = route->forward;
    bool ca = forward->ca_file != NULL, own = forward->cert_file != NULL;
    doctor_next(doctor,
                "openssl s_client -connect %s:%u -servername %s -verify_return_error%s%s%s%s%s%s </dev/null",
                route->to.host, route->to.port, forward->server_name, ca ? " -CAfile " : "",
                or_nothing(forward->ca_file), own ? " -cert " : "", or_nothing(forward->cert_file),
                own ? " -key " : "", or_nothing(forward->key_file));
}

static void tell_files(struct doctor *doctor, const struct config_route *route, int r,
                       const struct error *err)
{
    const struct config_forward *forward = route->forward;
    if (!is_ours_to_see(r)) {
        tell_unseen(doctor, route, "tls", err->text);
        return;
    }
    doctor_tell(doctor, FINDING_FAIL, "tls", route->name, "%s", err->text);
    if (r == -EKEYREJECTED) {
        doctor_next(
            doctor,
            "openssl x509 -noout -pubkey -in %s; openssl pkey -pubout -in %s   # have to be the same: "
            "install the two that were made together",
            forward->cert_file, forward->key_file);
        return;
    }
    doctor_next(doctor, "ls -lL %s %s %s   # PEM; the key without a passphrase", or_nothing(forward->ca_file),
                or_nothing(forward->cert_file), or_nothing(forward->key_file));
}

/* Returns whether a handshake can be tried with them. */
static bool check_files(struct doctor *doctor, const struct config_route *route)
{
    const struct config_forward *forward = route->forward;
    const struct tls_options options = options_of(forward);
    struct error err = ERROR_INIT;
    int r = probe_tls_files(&options, &err);
    if (r != 0) {
        tell_files(doctor, route, r, &err);
        return false;
    }
    bool readable = check_readable(doctor, route, "tls", forward->ca_file);
    readable &= check_readable(doctor, route, "tls", forward->cert_file);
    readable &= check_readable(doctor, route, "tls", forward->key_file);
    if (readable && forward->cert_file != NULL) {
        doctor_tell(doctor, FINDING_OK, "tls", route->name, "%s is the key of %s", forward->key_file,
                    forward->cert_file);
    }
    return true;
}

/* Takes the connected descriptor. */
static void check_handshake(struct doctor *doctor, const struct config_route *route, int fd)
{
    const struct tls_options options = options_of(route->forward);
    struct error err = ERROR_INIT;
    int r = probe_upstream_tls(&options, fd, doctor_deadline(doctor, route), doctor->host->refusal_ms, &err);
    if (r == 0) {
        doctor_tell(doctor, FINDING_OK, "tls", route->name, "%s: certificate and name are right",
                    options.server_name);
    } else {
        doctor_tell(doctor, FINDING_FAIL, "tls", route->name, "%s: %s", options.server_name, err.text);
        next_handshake(doctor, route);
    }
}

static void check_upstream(struct doctor *doctor, const struct config_route *route)
{
    const struct doctor_destination destination = {.route = route, .to = route->to};
    bool tls = route->forward->tls && check_files(doctor, route);
    int fd = doctor_reach(doctor, &destination);
    if (fd >= 0 && tls) {
        check_handshake(doctor, route, fd);
    } else if (fd >= 0) {
        close(fd);
    }
}

/* ---- Headers ---- */

static bool is_secret(const struct http_template_part *part)
{
    return part->variable && (part->kind == HTTP_VARIABLE_ENV || part->kind == HTTP_VARIABLE_FILE ||
                              part->kind == HTTP_VARIABLE_CREDENTIAL);
}

/* Whether the value can be made and sent; it is wiped. */
static int expand(const struct http_template *tmpl, const struct config_route *route,
                  struct http_secrets *secrets, struct error *err)
{
    struct http_values values = {.enclave = "enclave",
                                 .route = route->name,
                                 .request_id = "request",
                                 .secrets = secrets};
    const struct http_provider provider = {.get = http_values_get, .data = &values};
    struct text value = TEXT_INIT;
    int r = http_template_expand(tmpl, &provider, &value, err);
    if (value.data != NULL) {
        OPENSSL_cleanse(value.data, value.length);
    }
    text_release(&value);
    return r;
}

/* Of those of a value that cannot be made, the one that is to blame. */
static const struct http_template_part *
find_culprit(const struct http_template *tmpl, const struct config_route *route, struct http_secrets *secrets)
{
    const struct http_template_part *first = NULL;
    for (unsigned i = 0; i < tmpl->count; i++) {
        struct http_template alone = {.parts = &tmpl->parts[i], .count = 1};
        struct error ignored;
        if (!is_secret(&tmpl->parts[i])) {
            continue;
        }
        if (expand(&alone, route, secrets, &ignored) != 0) {
            return &tmpl->parts[i];
        }
        first = first != NULL ? first : &tmpl->parts[i];
    }
    return first;
}

static void next_secret(struct doctor *doctor, const struct http_template_part *part)
{
    switch (part->kind) {
    case HTTP_VARIABLE_FILE:
        doctor_next(doctor, "ls -lL %s   # one line, with the value alone", part->text);
        break;
    case HTTP_VARIABLE_ENV:
        doctor_next(doctor,
                    "sudo systemctl edit postern   # [Service] EnvironmentFile= with %s=..., then restart",
                    part->text);
        break;
    default:
        doctor_next(doctor, "sudo systemctl edit postern   # [Service] LoadCredential=%s:/PATH, then restart",
                    part->text);
        break;
    }
}

/* Files are the same for us; the rest is the daemon's own. */
static bool is_known(const struct doctor *doctor, const struct http_template *tmpl)
{
    return doctor->process->environment != NULL || (!http_template_has(tmpl, HTTP_VARIABLE_ENV) &&
                                                    !http_template_has(tmpl, HTTP_VARIABLE_CREDENTIAL));
}

static bool check_secret_files(struct doctor *doctor, const struct config_route *route,
                               const struct http_template *tmpl)
{
    bool readable = true;
    for (unsigned i = 0; i < tmpl->count; i++) {
        const struct http_template_part *part = &tmpl->parts[i];
        if (part->variable && part->kind == HTTP_VARIABLE_FILE) {
            readable &= check_readable(doctor, route, "header", part->text);
        }
    }
    return readable;
}

static void check_header(struct doctor *doctor, const struct config_route *route,
                         const struct http_header_rule *rule, struct http_secrets *secrets)
{
    const struct http_template *tmpl = &rule->value;
    char name[HTTP_FOLDED_MAX + 1];
    struct error err = ERROR_INIT;
    snprintf(name, sizeof name, "%.*s", (int)rule->name.size, rule->name.data);
    if (!is_known(doctor, tmpl)) {
        doctor_tell(doctor, FINDING_SKIPPED, "header", route->name,
                    "%s: the environment of the daemon is not to be seen%s", name,
                    doctor->process->running ? "" : ", as none answers");
        doctor_next_root(doctor, "once the daemon runs");
        return;
    }
    int r = expand(tmpl, route, secrets, &err);
    if (r != 0 && !is_ours_to_see(r)) {
        tell_unseen(doctor, route, "header", err.text);
    } else if (r != 0) {
        doctor_tell(doctor, FINDING_FAIL, "header", route->name, "%s: %s", name, err.text);
        const struct http_template_part *culprit = find_culprit(tmpl, route, secrets);
        if (culprit != NULL) {
            next_secret(doctor, culprit);
        }
    } else if (check_secret_files(doctor, route, tmpl)) {
        doctor_tell(doctor, FINDING_OK, "header", route->name, "%s: its value is there", name);
    }
}

/* In the daemon's environment. */
static void check_headers(struct doctor *doctor, const struct config_route *route)
{
    const struct http_header_rules *rules = &route->forward->rules.headers;
    struct http_secrets secrets;
    http_secrets_init(&secrets, getenv("CREDENTIALS_DIRECTORY"));
    for (unsigned i = 0; i < rules->count; i++) {
        if (http_template_has_secret(&rules->list[i].value)) {
            check_header(doctor, route, &rules->list[i], &secrets);
        }
    }
    http_secrets_release(&secrets);
}

/* ---- Keys to sign with ---- */

static void next_credentials(struct doctor *doctor, const struct config_sign *sign)
{
    switch (sign->credentials) {
    case CONFIG_CREDENTIALS_FILE:
        doctor_next(doctor, "ls -lL %s   # a profile with aws_access_key_id and aws_secret_access_key",
                    sign->credentials_file != NULL ? sign->credentials_file : "~postern/.aws/credentials");
        break;
    case CONFIG_CREDENTIALS_ENV:
        doctor_next(doctor, "sudo systemctl edit postern   # [Service] EnvironmentFile= with "
                            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, then restart");
        break;
    case CONFIG_CREDENTIALS_CONTAINER:
        doctor_next(doctor, "sudo systemctl show postern -p Environment   # AWS_CONTAINER_CREDENTIALS_*");
        break;
    default:
        doctor_next(doctor, "TOKEN=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "
                            "http://169.254.169.254/latest/api/token); curl -isH \"X-aws-ec2-metadata-token: "
                            "$TOKEN\" http://169.254.169.254/latest/meta-data/iam/security-credentials/   "
                            "# the name of the role, or why not");
        break;
    }
}

/* Whether where to look hangs on variables of the daemon's environment. */
static bool hangs_on_environment(const struct config_sign *sign)
{
    return sign->credentials != CONFIG_CREDENTIALS_INSTANCE &&
           (sign->credentials != CONFIG_CREDENTIALS_FILE || sign->credentials_file == NULL);
}

/* In the daemon's environment. */
static void check_credentials(struct doctor *doctor, const struct config_route *route)
{
    static const char *const places[] = {
        [CONFIG_CREDENTIALS_AUTO] = "?",
        [CONFIG_CREDENTIALS_ENV] = "the environment",
        [CONFIG_CREDENTIALS_FILE] = "the credentials file",
        [CONFIG_CREDENTIALS_CONTAINER] = "the container's endpoint",
        [CONFIG_CREDENTIALS_INSTANCE] = "the instance metadata service",
    };
    const struct config_sign *sign = route->forward->sign;
    enum config_credentials from = CONFIG_CREDENTIALS_AUTO;
    struct error err = ERROR_INIT;
    if (hangs_on_environment(sign) && doctor->process->environment == NULL) {
        doctor_tell(doctor, FINDING_SKIPPED, "credentials", route->name,
                    "the environment of the daemon is not to be seen%s",
                    doctor->process->running ? "" : ", as none answers");
        doctor_next_root(doctor, "once the daemon runs");
        return;
    }
    int r = probe_credentials(sign, &from, &err);
    if (r != 0 && !is_ours_to_see(r)) {
        tell_unseen(doctor, route, "credentials", err.text);
    } else if (r != 0) {
        doctor_tell(doctor, FINDING_FAIL, "credentials", route->name, "%s", err.text);
        next_credentials(doctor, sign);
    } else if (check_readable(doctor, route, "credentials", sign->credentials_file)) {
        doctor_tell(doctor, FINDING_OK, "credentials", route->name, "AWS keys come from %s", places[from]);
    }
}

void doctor_check_forward(struct doctor *doctor, const struct config_route *route)
{
    check_upstream(doctor, route);
    char **before = doctor_environment_enter(doctor->process);
    check_headers(doctor, route);
    if (route->forward->sign != NULL) {
        check_credentials(doctor, route);
    }
    doctor_environment_leave(before);
}
