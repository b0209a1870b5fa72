/*
 * Asking the NSM to vouch for a key: see vouch.h.
 *
 * A software NSM takes the device's own messages over a stream, each behind its length (32 bits, big-endian).
 */
#include "kms/vouch.h"

#include "kms/clock.h"
#include "nsm/answer.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A software one has no hypervisor to wait for. */
#define SOFTWARE_TIMEOUT_MS 10000u

/* linux/nsm.h came with Linux 6.8; older kernels take the same call from AWS's own driver. */
struct nsm_raw {
    struct {
        uint64_t address, length;
    } request, response;
};
#define NSM_IOCTL_RAW _IOWR(0x0a, 0x0, struct nsm_raw)

struct message {
    size_t size;
    uint8_t bytes[NSM_RESPONSE_MAX];
};

/* {"Attestation": {"user_data": null, "nonce": null, "public_key": ...}} in CBOR, up to the key. */
static const char prefix[] = "\xa1\x6b"
                             "Attestation"
                             "\xa3\x69user_data\xf6\x65nonce\xf6\x6apublic_key\x59";

/* ---- Open and closed ---- */

static int open_software(struct kms_voucher *voucher, const char *address, struct error *err)
{
    struct kms_place to = {.door = NULL};
    int status = addr_parse(address, &to.addr, err);

    if (status != 0) {
        error_prefix(err, "the INSECURE software NSM");
        return status;
    }
    if (kms_wire_open(&voucher->wire, &to, kms_now_ms() + SOFTWARE_TIMEOUT_MS) != 0) {
        status = voucher->wire.trouble.status == -ENOMEM ? -ENOMEM : -ENODEV;
        return error_set(err, status, "the INSECURE software NSM: %s", voucher->wire.trouble.why.text);
    }
    voucher->open = true;
    return 0;
}

int kms_vouch_open(struct kms_voucher *ret, const char *insecure, struct error *err)
{
    *ret = (struct kms_voucher){.insecure = insecure != NULL, .fd = -1, .wire = {.fd = -1}};
    if (insecure) {
        return open_software(ret, insecure, err);
    }
    ret->fd = open(NSM_DEVICE, O_RDWR | O_CLOEXEC);
    ret->open = ret->fd >= 0;
    if (!ret->open && errno == ENOENT) {
        return error_set(err, -ENODEV, "there is no " NSM_DEVICE ": this is no Nitro Enclave");
    }
    if (!ret->open) {
        error_errno(err, -errno, "cannot open the NSM " NSM_DEVICE);
        return -EIO;
    }
    return 0;
}

void kms_vouch_close(struct kms_voucher *voucher)
{
    if (voucher->open && voucher->insecure) {
        kms_wire_close(&voucher->wire, true);
    } else if (voucher->open) {
        close(voucher->fd);
    }
    voucher->open = false;
}

/* ---- One message there, one back ---- */

static int ask_device(const struct kms_voucher *voucher, const struct message *request, struct message *reply,
                      struct error *err)
{
    struct nsm_raw raw = {
        .request = {.address = (uintptr_t)request->bytes, .length = request->size},
        .response = {.address = (uintptr_t)reply->bytes, .length = sizeof reply->bytes},
    };

    if (ioctl(voucher->fd, NSM_IOCTL_RAW, &raw) < 0) {
        error_errno(err, -errno, "the NSM's driver failed");
        return -EIO;
    }
    reply->size = raw.response.length < sizeof reply->bytes ? raw.response.length : sizeof reply->bytes;
    return 0;
}

static int read_whole(struct kms_wire *wire, uint8_t *bytes, size_t size)
{
    size_t at = 0;

    while (at < size) {
        ssize_t n = kms_wire_read(wire, bytes + at, size - at);
        if (n <= 0) {
            return n < 0 ? (int)n : -ENOTCONN;
        }
        at += (size_t)n;
    }
    return 0;
}

static int read_message(struct kms_wire *wire, struct message *reply)
{
    uint8_t head[4];
    int status = read_whole(wire, head, sizeof head);

    reply->size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (status == 0 && reply->size > sizeof reply->bytes) {
        return -EMSGSIZE;
    }
    return status == 0 ? read_whole(wire, reply->bytes, reply->size) : status;
}

static int ask_software(struct kms_voucher *voucher, const struct message *request, struct message *reply,
                        struct error *err)
{
    struct kms_wire *wire = &voucher->wire;
    uint8_t bytes[4 + NSM_REQUEST_MAX] = {(uint8_t)(request->size >> 24), (uint8_t)(request->size >> 16),
                                          (uint8_t)(request->size >> 8), (uint8_t)request->size};

    memcpy(bytes + 4, request->bytes, request->size);
    wire->deadline = kms_now_ms() + SOFTWARE_TIMEOUT_MS;
    int status = kms_wire_write(wire, bytes, 4 + request->size);
    status = status == 0 ? read_message(wire, reply) : status;
    if (status != 0) {
        return error_set(err, -EIO, "the INSECURE software NSM: %s",
                         wire->trouble.status != 0 ? wire->trouble.why.text
                         : status == -EMSGSIZE     ? "its answer is too large"
                                                   : "it has closed the connection");
    }
    return 0;
}

/* ---- The request ---- */

static int malformed(struct error *err)
{
    return error_set(err, -EIO, "the NSM's answer to Attestation is not what it should be");
}

static int read_document(const struct message *reply, uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size,
                         struct error *err)
{
    struct answer all, inner, word;
    const uint8_t *bytes;
    const char *text;
    size_t size;

    if (!answer_is_whole(reply->bytes, reply->size, &all)) {
        return malformed(err);
    }
    if (answer_find(&all, "Error", &word) && answer_text(&word, &text, &size)) {
        return error_set(err, -EIO, "the NSM refuses: %.*s", (int)(size < 64 ? size : 64), text);
    }
    if (!answer_find(&all, "Attestation", &inner) || !answer_find(&inner, "document", &inner) ||
        !answer_bytes(&inner, &bytes, &size) || size == 0) {
        return malformed(err);
    }
    memcpy(document, bytes, size);
    *ret_size = size;
    return 0;
}

int kms_vouch(struct kms_voucher *voucher, const uint8_t *public_key, size_t size,
              uint8_t document[NSM_RESPONSE_MAX], size_t *ret_size, struct error *err)
{
    struct message request = {.size = sizeof prefix - 1}, reply = {.size = 0};

    if (size > 1024) {
        return error_set(err, -EIO, "a key is too large for an attestation document");
    }
    memcpy(request.bytes, prefix, request.size);
    request.bytes[request.size++] = (uint8_t)(size >> 8);
    request.bytes[request.size++] = (uint8_t)size;
    memcpy(request.bytes + request.size, public_key, size);
    request.size += size;
    int status = voucher->insecure ? ask_software(voucher, &request, &reply, err)
                                   : ask_device(voucher, &request, &reply, err);
    return status == 0 ? read_document(&reply, document, ret_size, err) : status;
}
