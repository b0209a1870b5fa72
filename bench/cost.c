/*
 * bench_cost: what one input costs one parser, for bench/cost.
 *
 *     bench_cost PARSER PIECE FILE
 *
 * Gives the file's bytes to the parser in pieces of PIECE bytes (0: whole) and prints, as JSON, how many there were
 * and the most memory that was allocated at a time. Run under callgrind with --toggle-collect=measured, which
 * counts the instructions of the parser and of what it calls. The allocator is this program's own, to see what
 * libraries allocate too.
 */
#include "cost.h"
#include "aws/sign.h"
#include "base/diag.h"
#include "base/error.h"
#include "config/allowlist.h"
#include "config/config.h"
#include "http/body.h"
#include "http/message.h"
#include "http/request.h"
#include "http/response.h"
#include "net/addr.h"
#include "relay/hello.h"
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX ((size_t)4 * 1024 * 1024)

/* ---- What is allocated ---- */

static size_t allocated, most;

static void *count(void *block)
{
    allocated += block != NULL ? malloc_usable_size(block) : 0;
    most = allocated > most ? allocated : most;
    return block;
}

static void discount(void *block)
{
    size_t size = block != NULL ? malloc_usable_size(block) : 0;
    allocated -= size < allocated ? size : allocated;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t number, size_t size);
void *__libc_realloc(void *block, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
    return count(__libc_malloc(size));
}

void *calloc(size_t number, size_t size)
{
    return count(__libc_calloc(number, size));
}

void *realloc(void *block, size_t size)
{
    discount(block);
    return count(__libc_realloc(block, size));
}

void free(void *block)
{
    discount(block);
    __libc_free(block);
}

/* ---- The parsers ---- */

static void feed_hello(const struct input *input)
{
    struct hello hello;
    enum hello_state state = HELLO_MORE;
    hello_init(&hello);
    for (size_t at = 0; at < input->size && state == HELLO_MORE; at += input->piece) {
        size_t left = input->size - at;
        state = hello_feed(&hello, input->data + at, left < input->piece ? left : input->piece);
    }
    hello_release(&hello);
}

static void feed_http(const struct input *input)
{
    struct http_message message;
    int rv = 0;
    http_message_init(&message, HTTP_MESSAGE_REQUEST, (size_t)8 * 1024, (size_t)64 * 1024);
    for (size_t at = 0; at < input->size && rv == 0; at += input->piece) {
        size_t left = input->size - at;
        rv = http_message_feed(&message, input->data + at, left < input->piece ? left : input->piece);
    }
    http_message_release(&message);
}

/* What a request costs until its bytes are ready for the upstream. */
static void send_head(const struct http_request *request)
{
    static const struct http_upstream upstream = {.authority = "results.example.com", .base_path = "/v1"};
    struct http_head head;
    struct text out = TEXT_INIT;
    struct error err = ERROR_INIT;
    http_head_init(&head, (size_t)64 * 1024);
    if (http_request_rewrite(request, &upstream, &head, &err) == HTTP_REFUSED_NONE) {
        http_head_write(&head, &out);
    }
    text_release(&out);
    http_head_release(&head);
}

static bool forward_piece(struct http_request *request, const char *data, size_t size)
{
    struct http_body_out body = {.framing.body = HTTP_BODY_CHUNKED};
    enum http_event event = HTTP_EVENT_MORE;
    size_t at = 0;
    do {
        char prefix[HTTP_CHUNK_PREFIX_MAX];
        struct http_span piece;
        size_t used;
        event = http_request_read(request, data + at, size - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_HEAD) {
            send_head(request);
        } else if (event == HTTP_EVENT_BODY) {
            (void)http_body_prefix(&body, piece.size, prefix);
        }
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    return event == HTTP_EVENT_MORE;
}

static void forward_request(const struct input *input)
{
    struct http_rules rules;
    struct http_request request;
    bool more = true;
    http_rules_init(&rules);
    http_request_init(&request, &rules);
    for (size_t at = 0; at < input->size && more; at += input->piece) {
        size_t left = input->size - at;
        more = forward_piece(&request, input->data + at, left < input->piece ? left : input->piece);
    }
    http_request_release(&request);
    http_rules_release(&rules);
}

/* What an answer costs until its bytes are ready for the enclave. */
static bool answer_piece(struct http_response *response, const char *data, size_t size)
{
    static const struct http_client client = {.chunked = true, .keep_alive = true};
    enum http_event event;
    size_t at = 0;
    do {
        struct http_span piece;
        size_t used;
        event = http_response_read(response, data + at, size - at, &used, &piece);
        at += used;
        if (event == HTTP_EVENT_HEAD && response->status >= 200) {
            struct http_framing framing;
            struct http_head head;
            struct text out = TEXT_INIT;
            http_head_init(&head, (size_t)64 * 1024);
            if (http_response_rewrite(response, &client, &head, &framing) == HTTP_REFUSED_NONE) {
                http_head_write(&head, &out);
            }
            text_release(&out);
            http_head_release(&head);
        }
    } while (event == HTTP_EVENT_HEAD || event == HTTP_EVENT_BODY);
    return event == HTTP_EVENT_MORE;
}

static void take_answer(const struct input *input)
{
    static const struct http_limits limits = HTTP_LIMITS_INIT;
    struct http_response response;
    bool more = true;
    http_response_init(&response, &limits, false);
    for (size_t at = 0; at < input->size && more; at += input->piece) {
        size_t left = input->size - at;
        more = answer_piece(&response, input->data + at, left < input->piece ? left : input->piece);
    }
    http_response_release(&response);
}

/* The file's bytes as a target, which is signed for any service, with as many headers as there may be. */
static void sign_target(const struct input *input)
{
    static const struct aws_credentials credentials = {"AKIDEXAMPLE", "secret", "token"};
    static const struct aws_header header = {"host", "sqs.us-east-1.amazonaws.com"};
    struct aws_request request = {
        .method = "POST", .target = input->data, .headers = &header, .header_count = 1, .payload_hash = ""};
    struct aws_signer signer;
    struct aws_signature signature;
    aws_signer_init(&signer, "us-east-1", "sqs");
    if (aws_sign(&signer, &credentials, &request, 1767225600, &signature, NULL, NULL) == 0) {
        aws_signature_release(&signature);
    }
    aws_signer_release(&signer);
}

static void read_config(const struct input *input)
{
    struct config *config = NULL;
    struct diags diags;
    struct text text = TEXT_INIT;
    diags_init(&diags, "input");
    if (config_parse("input", input->data, input->size, &config, &diags) == 0) {
        config_unref(config);
    }
    diags_format(&diags, &text);
    text_release(&text);
    diags_release(&diags);
}

static void read_allowlist(const struct input *input)
{
    struct allowlist list;
    struct error err = ERROR_INIT;
    if (allowlist_parse("input", input->data, input->size, &list, &err) == 0) {
        allowlist_release(&list);
    }
}

/* The file's bytes as one address; they have to end with '\0'. */
static void read_address(const struct input *input)
{
    struct addr addr;
    struct error err = ERROR_INIT;
    (void)!addr_parse(input->data, &addr, &err);
}

static const struct {
    const char *name;
    void (*run)(const struct input *input);
} parsers[] = {{"hello", feed_hello},
               {"http", feed_http},
               {"forward", forward_request},
               {"answer", take_answer},
               {"sign", sign_target},
               {"config", read_config},
               {"allowlist", read_allowlist},
               {"address", read_address},
               {"session", feed_session},
               {"document", take_document},
               {"opening", feed_session},
               {"nsm", take_nsm_document},
               {"describe", take_nsm_description},
               {"kms", take_kms_answer},
               {"sdk", take_sdk_request},
               {"sealed", take_sealed_header}};

/* By its name callgrind knows what to count. */
void measured(void (*run)(const struct input *), const struct input *input);

__attribute__((noinline)) void measured(void (*run)(const struct input *), const struct input *input)
{
    run(input);
    __asm__ volatile("" ::: "memory"); /* the call stays a call */
}

static char *read_file(const char *path, size_t *ret_size)
{
    char *data = calloc(INPUT_MAX + 1, 1);
    FILE *file = fopen(path, "rb");
    if (data == NULL || file == NULL) {
        perror(path);
        exit(1);
    }
    *ret_size = fread(data, 1, INPUT_MAX, file);
    fclose(file);
    return data;
}

int main(int argc, char **argv)
{
    struct input input;
    if (argc != 4) {
        fputs("usage: bench_cost PARSER PIECE FILE\n", stderr);
        return 2;
    }
    char *data = read_file(argv[3], &input.size);
    input.data = data;
    input.piece = strtoul(argv[2], NULL, 10);
    if (input.piece == 0) {
        input.piece = input.size;
    }
    for (size_t i = 0; i < ARRAY_SIZE(parsers); i++) {
        if (strcmp(argv[1], parsers[i].name) == 0) {
            size_t before = most = allocated;
            measured(parsers[i].run, &input);
            printf("{\"bytes\": %zu, \"most_allocated\": %zu}\n", input.size, most - before);
            free(data);
            return 0;
        }
    }
    fprintf(stderr, "bench_cost: '%s' is no parser\n", argv[1]);
    return 2;
}
