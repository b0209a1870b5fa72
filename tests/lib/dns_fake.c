/*
 * The fake DNS server. What it does not expect of a test ends the test.
 */
#include "dns_fake.h"
#include "base/compiler.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HEADER = 12, TYPE_A = 1, TYPE_CNAME = 5, TYPE_AAAA = 28, ANSWER_MAX = 65535, UDP_MAX = 512 };

/* Where an answer goes. */
struct dns_client {
    uv_tcp_t tcp;
    struct dns_fake *fake;
    size_t length;
    char data[2048];
};

struct dns_delayed {
    uv_timer_t timer;
    struct dns_fake *fake;
    struct sockaddr_storage peer;
    size_t length;
    unsigned char data[];
};

struct question {
    char name[256];
    unsigned type;
    size_t end; /* of the question, from the start of the message */
};

struct answer {
    unsigned char data[ANSWER_MAX];
    size_t length;
    unsigned records;
};

static void check(int r, const char *what)
{
    if (r >= 0) {
        return;
    }
    fprintf(stderr, "dns_fake: %s: %s\n", what, uv_strerror(r));
    abort();
}

/* ---- Messages ---- */

static void put(struct answer *answer, const void *data, size_t length)
{
    if (answer->length + length > sizeof(answer->data)) {
        check(UV_EMSGSIZE, "answer");
    }
    memcpy(answer->data + answer->length, data, length);
    answer->length += length;
}

static void put16(struct answer *answer, unsigned value)
{
    unsigned char bytes[2] = {(unsigned char)(value >> 8), (unsigned char)value};
    put(answer, bytes, sizeof(bytes));
}

static void put_name(struct answer *answer, const char *name)
{
    while (*name != '\0') {
        unsigned char length = (unsigned char)strcspn(name, ".");
        put(answer, &length, 1);
        put(answer, name, length);
        name += length;
        name += *name == '.';
    }
    put(answer, "", 1);
}

static void put_record(struct answer *answer, const char *owner, unsigned type, uint32_t ttl)
{
    if (owner == NULL) {
        put16(answer, 0xc000 | HEADER); /* the name in the question */
    } else {
        put_name(answer, owner);
    }
    put16(answer, type);
    put16(answer, 1);
    put16(answer, ttl >> 16);
    put16(answer, ttl & 0xffff);
    answer->records++;
}

static void put_addresses(struct answer *answer, const char *owner, const struct dns_rule *rule,
                          unsigned type)
{
    unsigned addresses = type == TYPE_A ? rule->a : type == TYPE_AAAA ? rule->aaaa : 0;

    for (unsigned i = 0; i < addresses; i++) {
        unsigned n = 1 + rule->base + (rule->same ? 0 : i);
        unsigned char ipv4[4] = {192, 0, (unsigned char)(2 + (n >> 8)), (unsigned char)n};
        unsigned char ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [14] = (unsigned char)(n >> 8), (unsigned char)n};
        put_record(answer, owner, type, rule->ttl);
        put16(answer, type == TYPE_A ? 4 : 16);
        put(answer, type == TYPE_A ? ipv4 : ipv6, type == TYPE_A ? 4 : 16);
    }
}

static void put_alias(struct answer *answer, const struct dns_rule *rule)
{
    struct answer name = {.length = 0};
    put_record(answer, NULL, TYPE_CNAME, rule->cname_ttl);
    put_name(&name, rule->cname);
    put16(answer, (unsigned)name.length);
    put(answer, name.data, name.length);
}

static bool read_question(const unsigned char *data, size_t length, struct question *ret)
{
    size_t at = HEADER, n = 0;

    while (at < length && data[at] != 0) {
        if (at + 1 + data[at] >= length || n + data[at] + 1 >= sizeof(ret->name)) {
            return false;
        }
        memcpy(ret->name + n, data + at + 1, data[at]);
        n += data[at];
        ret->name[n++] = '.';
        at += 1 + (size_t)data[at];
    }
    if (at + 5 > length || n == 0) {
        return false;
    }
    ret->name[n - 1] = '\0';
    ret->type = (unsigned)data[at + 1] << 8 | data[at + 2];
    ret->end = at + 5;
    return true;
}

static void set_header(struct answer *answer, const unsigned char *query, unsigned rcode, bool truncated)
{
    unsigned char header[HEADER] = {query[0],
                                    query[1],
                                    (unsigned char)(0x80 | (query[2] & 1) | (truncated ? 2 : 0)),
                                    (unsigned char)(0x80 | rcode),
                                    0,
                                    1,
                                    (unsigned char)(answer->records >> 8),
                                    (unsigned char)answer->records};
    memcpy(answer->data, header, sizeof(header));
}

static void fill_answer(struct answer *answer, const struct dns_rule *rule, const struct question *question,
                        bool tcp)
{
    if (rule->garbage) {
        answer->length = 0;
        put(answer, "not a DNS message, whatever it may look like", 44);
    } else if (rule->broken) {
        put(answer, "\xc0\xff\xc0\xff\xc0", 5);
        answer->records = 3;
    } else if (rule->rcode == 0 && !(rule->truncate && !tcp)) {
        if (rule->cname != NULL) {
            put_alias(answer, rule);
        }
        if (!rule->cname_only) {
            put_addresses(answer, rule->wrong_name ? "wrong.test" : rule->cname, rule, question->type);
        }
    }
}

/* Returns false when there is to be no answer. */
static bool make_answer(struct dns_fake *fake, const unsigned char *query, size_t length, bool tcp,
                        struct answer *ret, unsigned *delay_ms)
{
    struct question question;
    static struct dns_rule unknown = {.rcode = DNS_NXDOMAIN};
    struct dns_rule *rule = &unknown;

    if (length < HEADER || !read_question(query, length, &question)) {
        check(UV_EINVAL, "question");
    }
    for (unsigned i = 0; i < fake->rule_count; i++) {
        if (strcasecmp(fake->rules[i].name, question.name) == 0) {
            rule = &fake->rules[i];
        }
    }
    fake->asked++;
    rule->asked_a += question.type == TYPE_A;
    rule->asked_aaaa += question.type == TYPE_AAAA;
    rule->asked_tcp += tcp;
    *delay_ms = rule->delay_ms;
    if (fake->silent || rule->drop || (rule->drop_aaaa && question.type == TYPE_AAAA)) {
        return false;
    }
    ret->length = 0;
    ret->records = 0;
    put(ret, query, question.end);
    fill_answer(ret, rule, &question, tcp);
    bool cut = !tcp && ret->length > UDP_MAX;
    if (cut) { /* whole records only: none is simplest */
        ret->length = question.end;
        ret->records = 0;
    }
    if (!rule->garbage) {
        set_header(ret, query, rule->rcode, cut || (rule->truncate && !tcp));
    }
    return true;
}

/* ---- UDP ---- */

static void send_answer(struct dns_fake *fake, const void *data, size_t length, const struct sockaddr *peer)
{
    uv_buf_t buffer = uv_buf_init((char *)(uintptr_t)data, (unsigned)length);
    check(uv_udp_try_send(&fake->udp, &buffer, 1, peer), "sending");
}

static void on_delayed_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_timer_t *)handle, struct dns_delayed, timer));
}

static void drop_delayed(struct dns_fake *fake, unsigned i)
{
    uv_close((uv_handle_t *)&fake->delayed[i]->timer, on_delayed_closed);
    fake->delayed[i] = NULL;
}

static void on_delay(uv_timer_t *timer)
{
    struct dns_delayed *delayed = CONTAINER_OF(timer, struct dns_delayed, timer);
    struct dns_fake *fake = delayed->fake;

    send_answer(fake, delayed->data, delayed->length, (const struct sockaddr *)&delayed->peer);
    for (unsigned i = 0; i < DNS_DELAYED_MAX; i++) {
        if (fake->delayed[i] == delayed) {
            drop_delayed(fake, i);
        }
    }
}

static void send_later(struct dns_fake *fake, const struct answer *answer, const struct sockaddr *peer,
                       unsigned delay_ms)
{
    struct dns_delayed *delayed = calloc(1, sizeof(*delayed) + answer->length);
    unsigned i = 0;

    while (i < DNS_DELAYED_MAX && fake->delayed[i] != NULL) {
        i++;
    }
    if (delayed == NULL || i == DNS_DELAYED_MAX) {
        check(UV_ENOMEM, "delaying");
    }
    fake->delayed[i] = delayed;
    delayed->fake = fake;
    memcpy(&delayed->peer, peer, sizeof(struct sockaddr_in));
    delayed->length = answer->length;
    memcpy(delayed->data, answer->data, answer->length);
    uv_timer_init(fake->loop, &delayed->timer);
    uv_timer_start(&delayed->timer, on_delay, delay_ms, 0);
    uv_unref((uv_handle_t *)&delayed->timer);
}

void dns_fake_hurry(struct dns_fake *fake)
{
    for (unsigned i = 0; i < DNS_DELAYED_MAX; i++) {
        if (fake->delayed[i] != NULL) {
            on_delay(&fake->delayed[i]->timer);
        }
    }
}

static void on_udp_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct dns_fake *fake = CONTAINER_OF((uv_udp_t *)handle, struct dns_fake, udp);
    (void)size;
    *ret = uv_buf_init(fake->packet, sizeof(fake->packet));
}

static void on_udp(uv_udp_t *udp, ssize_t length, const uv_buf_t *buffer, const struct sockaddr *peer,
                   unsigned flags)
{
    static struct answer answer;
    struct dns_fake *fake = CONTAINER_OF(udp, struct dns_fake, udp);
    unsigned delay_ms;

    (void)flags;
    if (length <= 0 || peer == NULL) {
        return;
    }
    if (!make_answer(fake, (const unsigned char *)buffer->base, (size_t)length, false, &answer, &delay_ms)) {
        return;
    }
    if (delay_ms > 0) {
        send_later(fake, &answer, peer, delay_ms);
    } else {
        send_answer(fake, answer.data, answer.length, peer);
    }
}

/* ---- TCP ---- */

static void on_client_closed(uv_handle_t *handle)
{
    free(CONTAINER_OF((uv_tcp_t *)handle, struct dns_client, tcp));
}

static void drop_client(struct dns_client *client)
{
    for (unsigned i = 0; i < DNS_CLIENTS_MAX; i++) {
        if (client->fake->clients[i] == client) {
            client->fake->clients[i] = NULL;
        }
    }
    uv_close((uv_handle_t *)&client->tcp, on_client_closed);
}

static void on_tcp_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct dns_client *client = CONTAINER_OF((uv_tcp_t *)handle, struct dns_client, tcp);
    (void)size;
    *ret = uv_buf_init(client->data + client->length, (unsigned)(sizeof(client->data) - client->length));
}

static void on_written(uv_write_t *write, int status)
{
    (void)status; /* the client may be gone */
    free(write);
}

static void write_answer(struct dns_client *client, const struct answer *answer)
{
    uv_write_t *write = calloc(1, sizeof(*write) + 2 + answer->length);
    unsigned char *data = (unsigned char *)(write + 1);
    uv_buf_t buffer = uv_buf_init((char *)data, (unsigned)answer->length + 2);

    if (write == NULL) {
        check(UV_ENOMEM, "writing");
    }
    data[0] = (unsigned char)(answer->length >> 8);
    data[1] = (unsigned char)answer->length;
    memcpy(data + 2, answer->data, answer->length);
    check(uv_write(write, (uv_stream_t *)&client->tcp, &buffer, 1, on_written), "writing");
}

static void on_tcp(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    static struct answer answer;
    struct dns_client *client = CONTAINER_OF((uv_tcp_t *)stream, struct dns_client, tcp);
    const unsigned char *data = (const unsigned char *)client->data;
    unsigned delay_ms;

    (void)buffer;
    if (length < 0) {
        drop_client(client);
        return;
    }
    client->length += (size_t)length;
    while (client->length >= 2 && client->length >= 2u + ((size_t)data[0] << 8 | data[1])) {
        size_t size = (size_t)data[0] << 8 | data[1];
        if (make_answer(client->fake, data + 2, size, true, &answer, &delay_ms)) {
            write_answer(client, &answer);
        }
        client->length -= 2 + size;
        memmove(client->data, client->data + 2 + size, client->length);
    }
}

static void on_connection(uv_stream_t *server, int status)
{
    struct dns_fake *fake = CONTAINER_OF((uv_tcp_t *)server, struct dns_fake, tcp);
    struct dns_client *client = calloc(1, sizeof(*client));
    unsigned i = 0;

    check(status, "accepting");
    while (i < DNS_CLIENTS_MAX && fake->clients[i] != NULL) {
        i++;
    }
    if (client == NULL || i == DNS_CLIENTS_MAX) {
        check(UV_ENOMEM, "accepting");
    }
    fake->clients[i] = client;
    client->fake = fake;
    check(uv_tcp_init(fake->loop, &client->tcp), "accepting");
    check(uv_accept(server, (uv_stream_t *)&client->tcp), "accepting");
    check(uv_read_start((uv_stream_t *)&client->tcp, on_tcp_alloc, on_tcp), "accepting");
    uv_unref((uv_handle_t *)&client->tcp);
}

/* ---- The server ---- */

static bool bind_both(struct dns_fake *fake)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int length = sizeof(address);

    check(uv_udp_init(fake->loop, &fake->udp), "UDP");
    check(uv_udp_bind(&fake->udp, (struct sockaddr *)&address, 0), "UDP");
    check(uv_udp_getsockname(&fake->udp, (struct sockaddr *)&address, &length), "UDP");
    check(uv_tcp_init(fake->loop, &fake->tcp), "TCP");
    snprintf(fake->servers, sizeof(fake->servers), "127.0.0.1:%u", ntohs(address.sin_port));
    return uv_tcp_bind(&fake->tcp, (struct sockaddr *)&address, 0) == 0 &&
           uv_listen((uv_stream_t *)&fake->tcp, 16, on_connection) == 0;
}

void dns_fake_open(struct dns_fake *fake, uv_loop_t *loop)
{
    memset(fake, 0, sizeof(*fake));
    fake->loop = loop;
    /* The port that UDP was given may be taken for TCP. */
    while (!bind_both(fake)) {
        uv_close((uv_handle_t *)&fake->udp, NULL);
        uv_close((uv_handle_t *)&fake->tcp, NULL);
        uv_run(loop, UV_RUN_NOWAIT);
    }
    check(uv_udp_recv_start(&fake->udp, on_udp_alloc, on_udp), "UDP");
    uv_unref((uv_handle_t *)&fake->udp);
    uv_unref((uv_handle_t *)&fake->tcp);
}

void dns_fake_close(struct dns_fake *fake)
{
    for (unsigned i = 0; i < DNS_DELAYED_MAX; i++) {
        if (fake->delayed[i] != NULL) {
            drop_delayed(fake, i);
        }
    }
    for (unsigned i = 0; i < DNS_CLIENTS_MAX; i++) {
        if (fake->clients[i] != NULL) {
            drop_client(fake->clients[i]);
        }
    }
    uv_close((uv_handle_t *)&fake->udp, NULL);
    uv_close((uv_handle_t *)&fake->tcp, NULL);
    uv_run(fake->loop, UV_RUN_DEFAULT);
}

struct dns_rule *dns_fake_rule(struct dns_fake *fake, const char *name)
{
    for (unsigned i = 0; i < fake->rule_count; i++) {
        if (strcasecmp(fake->rules[i].name, name) == 0) {
            return &fake->rules[i];
        }
    }
    if (fake->rule_count == DNS_RULES_MAX) {
        check(UV_ENOMEM, "rules");
    }
    struct dns_rule *rule = &fake->rules[fake->rule_count++];
    *rule = (struct dns_rule){.name = name, .ttl = 60};
    return rule;
}
