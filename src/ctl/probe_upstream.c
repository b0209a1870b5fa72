/* What the doctor tries of a forward route: see probe_upstream.h. */
#include "ctl/probe_upstream.h"

#include "ctl/dial.h"
#include "forward/credentials_load.h"
#include "net/loop.h"
#include <errno.h>
#include <openssl/ssl.h>
#include <unistd.h>

/* Nothing on these loops has a name to be looked up. */
static int begin_loop(struct loop *loop, struct error *err)
{
    static const struct resolver_options no_names = {.servers = "127.0.0.1", .timeout_ms = 1000};
    return loop_init(loop, &no_names, err);
}

/* ---- TLS ---- */

int probe_tls_files(const struct tls_options *options, struct error *err)
{
    struct tls_client *client = tls_client_new(options);
    int r = client != NULL ? tls_client_refresh(client, err) : error_errno(err, -ENOMEM, "TLS");
    tls_client_free(client);
    return r;
}

struct tls_probe {
    struct loop loop;
    uv_timer_t timer;
    struct watcher watcher;
    struct tls_stream tls;
    uint64_t refusal_ms;
    bool shaken, done;
    int result;
    struct error *err;
};

static void finish(struct tls_probe *probe, int result)
{
    probe->done = true;
    probe->result = result;
}

static void on_time(uv_timer_t *timer)
{
    struct tls_probe *probe = timer->data;
    if (probe->shaken) {
        finish(probe, 0); /* it had nothing against us */
    } else {
        finish(probe, error_set(probe->err, -ETIMEDOUT, "no answer to the ClientHello in time"));
    }
}

static const char *words_of(const struct tls_stream *tls)
{
    const char *words = tls_stream_error(tls);
    return words != NULL ? words : "out of memory";
}

/* Bytes, or the tickets that OpenSSL keeps to itself: who sends those has no objection. */
static void on_ready(struct stream *stream, unsigned events)
{
    struct tls_probe *probe = CONTAINER_OF(stream, struct tls_probe, tls.stream);
    char data[64];
    if ((events & STREAM_READABLE) == 0) {
        return;
    }
    ssize_t n = stream_read(stream, data, sizeof data);
    if (n == 0) {
        finish(probe,
               error_set(probe->err, -ECONNRESET, "the peer closed the connection after the handshake"));
    } else if (n < 0 && n != -EAGAIN) {
        finish(probe, error_set(probe->err, (int)n, "after the handshake: %s", words_of(&probe->tls)));
    } else {
        finish(probe, 0);
    }
}

static void on_shaken(struct tls_stream *tls, int code, const struct error *err)
{
    struct tls_probe *probe = CONTAINER_OF(tls, struct tls_probe, tls);
    probe->shaken = true;
    if (code != 0) {
        finish(probe, error_set(probe->err, code, "%s", err->text));
    } else if (SSL_version(tls->ssl) != TLS1_3_VERSION ||
               uv_timer_start(&probe->timer, on_time, probe->refusal_ms, 0) != 0) {
        finish(probe, 0);
    }
}

/* Everything arrives at the stream. */
static void on_early(struct watcher *watcher, uint32_t events)
{
    (void)watcher;
    (void)events;
}

static int shake_hands(struct tls_probe *probe, struct tls_client *client, int fd, uint64_t deadline)
{
    const struct sock_kind_options kind = {.kind = ADDR_TCP};
    uint64_t now = dial_now_ms();
    int r = poller_add(&probe->loop.poller, &probe->watcher, fd, ROOM_REPORTED, on_early);
    if (r != 0) {
        close(fd);
        return error_errno(probe->err, r, "TLS");
    }
    r = tls_stream_adopt(&probe->tls, client, &probe->loop.poller, &probe->watcher, &kind, on_ready,
                         on_shaken);
    if (r != 0) {
        poller_drop(&probe->loop.poller, &probe->watcher);
        return error_errno(probe->err, r, "TLS");
    }
    (void)uv_timer_start(&probe->timer, on_time, deadline > now ? deadline - now : 0, 0);
    while (!probe->done) {
        uv_run(&probe->loop.uv, UV_RUN_ONCE);
    }
    stream_close(&probe->tls.stream, false);
    return probe->result;
}

static int probe_with(struct tls_client *client, int fd, uint64_t deadline, uint64_t refusal_ms,
                      struct error *err)
{
    struct tls_probe probe = {.refusal_ms = refusal_ms, .err = err, .watcher.fd = -1};
    int r = begin_loop(&probe.loop, err);
    if (r != 0) {
        close(fd);
        return r;
    }
    probe.timer.data = &probe;
    (void)uv_timer_init(&probe.loop.uv, &probe.timer);
    r = shake_hands(&probe, client, fd, deadline);
    uv_close((uv_handle_t *)&probe.timer, NULL);
    loop_close(&probe.loop);
    return r;
}

int probe_upstream_tls(const struct tls_options *options, int fd, uint64_t deadline, uint64_t refusal_ms,
                       struct error *err)
{
    struct tls_client *client = tls_client_new(options);
    int r = client != NULL ? tls_client_refresh(client, err) : error_errno(err, -ENOMEM, "TLS");
    if (r == 0) {
        r = probe_with(client, fd, deadline, refusal_ms, err);
    } else {
        close(fd);
    }
    tls_client_free(client);
    return r;
}

/* ---- AWS keys ---- */

struct keys_probe {
    struct loop loop;
    struct credentials_load load;
    bool done;
    int result;
    enum config_credentials from;
    struct error *err;
};

static void on_keys(void *data, struct credentials_found *found, const struct error *err)
{
    struct keys_probe *probe = data;
    probe->done = true;
    if (found != NULL) {
        probe->from = found->from;
        credentials_keys_release(&found->keys);
    } else {
        probe->result = error_set(probe->err, -EIO, "%s", err->text);
    }
}

static int look_for_keys(struct keys_probe *probe)
{
    struct credentials_found found = {.from = CONFIG_CREDENTIALS_AUTO};
    int r = credentials_load_start(&probe->load, &found, probe->err);
    if (r == 0) {
        on_keys(probe, &found, NULL);
    }
    while (r == 1 && !probe->done) {
        uv_run(&probe->loop.uv, UV_RUN_ONCE);
    }
    return r < 0 ? r : probe->result;
}

int probe_credentials(const struct config_sign *sign, enum config_credentials *ret_from, struct error *err)
{
    struct keys_probe probe = {.err = err};
    int r = begin_loop(&probe.loop, err);
    if (r != 0) {
        return r;
    }
    r = credentials_load_init(&probe.load, &probe.loop, sign, on_keys, &probe);
    if (r == 0) {
        r = look_for_keys(&probe);
        credentials_load_release(&probe.load);
    } else {
        error_errno(err, r, "AWS credentials");
    }
    loop_close(&probe.loop);
    *ret_from = probe.from;
    return r;
}
