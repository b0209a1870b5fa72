/* The instance metadata service: see metadata.h. */
#include "sim/metadata.h"
#include "sim/bytes.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_PATH "/latest/api/token"
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"
#define REGION     "/latest/meta-data/placement/region"
#define ROLE       "simulated"
#define LIFE_S     3600

int sim_metadata_init(struct sim_metadata *metadata)
{
    unsigned char bytes[24];

    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return -EIO;
    }
    sim_hex(bytes, sizeof bytes, metadata->token);
    return 0;
}

static void add_date(struct text *out, time_t at)
{
    char text[32];
    struct tm tm;

    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&at, &tm));
    text_add(out, text);
}

static void add_field(struct text *out, const char *name, const char *value)
{
    text_addf(out, ", \"%s\": \"", name);
    text_add_json(out, value, strlen(value));
    text_add_char(out, '"');
}

static void tell_credential(const struct sim_metadata *metadata, struct text *out)
{
    const struct sim_credential *credential = metadata->credential;
    time_t now = sim_now(metadata->clock);

    text_add(out, "{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"LastUpdated\": \"");
    add_date(out, now);
    text_add(out, "\", \"Expiration\": \"");
    add_date(out, credential->expires ? credential->expires : now + LIFE_S);
    text_add_char(out, '"');
    add_field(out, "AccessKeyId", credential->access_key_id);
    add_field(out, "SecretAccessKey", credential->secret_access_key);
    add_field(out, "Token", credential->session_token ? credential->session_token : "");
    text_add_char(out, '}');
}

static bool has_token(const struct sim_metadata *metadata, const struct sim_http_exchange *exchange)
{
    char buffer[sizeof metadata->token];
    const char *token = sim_http_header(exchange, "x-aws-ec2-metadata-token", buffer, sizeof buffer);

    return token && strcmp(token, metadata->token) == 0;
}

void sim_metadata_handle(void *arg, const struct sim_http_exchange *exchange, struct sim_http_answer *answer)
{
    const struct sim_metadata *metadata = arg;
    char seconds[16];

    answer->type = "text/plain";
    if (sim_http_is(exchange, "PUT", TOKEN_PATH)) {
        if (sim_http_header(exchange, "x-aws-ec2-metadata-token-ttl-seconds", seconds, sizeof seconds)) {
            text_addf(&answer->headers, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: %d\r\n", LIFE_S);
            text_add(&answer->body, metadata->token);
        } else {
            answer->status = 400;
        }
    } else if (!has_token(metadata, exchange)) {
        answer->status = 401;
    } else if (sim_http_is(exchange, "GET", ROLES_PATH)) {
        text_add(&answer->body, ROLE);
    } else if (sim_http_is(exchange, "GET", ROLES_PATH ROLE)) {
        tell_credential(metadata, &answer->body);
    } else if (sim_http_is(exchange, "GET", REGION)) {
        text_add(&answer->body, metadata->region);
    } else {
        answer->status = 404;
    }
}
