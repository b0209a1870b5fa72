/* Any bytes as an SDK's request: refused with a word, or a call that could be nothing else, without a Recipient of the caller's. */
#include "kms/proxy_private.h"
#include "kms/proxy_request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BODY_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static struct kms_proxy *the_proxy(void)
{
    static struct kms_proxy proxy;
    static bool made;
    struct kms_proxy_options options;
    struct error err;

    if (!made) {
        kms_proxy_options_init(&options);
        options.body = BODY_MAX;
        require(kms_proxy_init(&proxy, NULL, &options, &err) == 0);
        made = true;
    }
    return &proxy;
}

static void check_call(const struct proxy_call *call)
{
    const char *key;
    json_t *value;

    require(call->operation[0] != '\0' &&
            strspn(call->operation, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") ==
                strlen(call->operation));
    require(json_is_object(call->request));
    json_object_foreach(call->request, key, value)
    {
        require(strcasecmp(key, "Recipient") != 0);
    }
}

static void judge(const struct http_request *request, const char *body, size_t size)
{
    struct proxy_problem why = {.type = NULL};
    struct proxy_call call;

    if (proxy_call_read(request, (struct http_span){.data = body, .size = size}, &call, &why)) {
        check_call(&call);
        proxy_call_release(&call);
    } else {
        require(!call.request && why.status >= 400 && why.status < 500 && why.type && why.message[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char body[BODY_MAX];
    struct http_request request;
    struct http_span piece;
    size_t at = 0, used, length = 0;
    enum http_event event = HTTP_EVENT_HEAD;

    http_request_init(&request, &the_proxy()->rules);
    while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY) {
        event = http_request_read(&request, (const char *)data + at, size - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_BODY) {
            require(length + piece.size <= sizeof body);
            memcpy(body + length, piece.data, piece.size);
            length += piece.size;
        }
    }
    if (event == HTTP_EVENT_END) {
        judge(&request, body, length);
    }
    http_request_release(&request);
    return 0;
}
