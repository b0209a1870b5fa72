/* Enclave image files: see eif.h. */
#include "attest/eif.h"

#include "nsm/answer.h"
#include <endian.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define PIECE         65536u
#define SIGNATURE_MAX 65536u
#define SECTIONS_MAX  32u

#define FLAG_ARM64 0x1u

/* As they lie in the file, big-endian. */
struct header {
    uint8_t magic[4];
    uint16_t version, flags;
    uint64_t memory, cpus;
    uint16_t reserved, sections;
    uint64_t offsets[SECTIONS_MAX], sizes[SECTIONS_MAX];
    uint32_t unused, crc;
} __attribute__((packed));

struct section {
    uint16_t type, flags;
    uint64_t size;
} __attribute__((packed));

enum section_type { KERNEL = 1, COMMAND_LINE, RAMDISK, SIGNATURE, METADATA };

struct measuring {
    FILE *in;
    struct eif *eif;
    EVP_MD_CTX *image, *boot, *application;
    uint8_t *piece; /* PIECE bytes */
    uint32_t crc;
    unsigned sections;
    struct error *err;
};

static int wrong(struct measuring *measuring, const char *what)
{
    return error_set(measuring->err, -EBADMSG, "not an enclave image: %s", what);
}

static int failed(struct measuring *measuring)
{
    ERR_clear_error();
    return error_set(measuring->err, -ENOMEM, "cannot measure the enclave image: out of memory");
}

/* ---- Reading ---- */

/* Returns how many bytes there were, up to `size`; or -EIO. */
static long take(struct measuring *measuring, void *data, size_t size)
{
    size_t n = fread(data, 1, size, measuring->in);

    if (ferror(measuring->in)) {
        return error_set(measuring->err, -EIO, "cannot read the enclave image");
    }
    measuring->crc = (uint32_t)crc32(measuring->crc, data, (uInt)n);
    return (long)n;
}

static int take_all(struct measuring *measuring, void *data, size_t size)
{
    long n = take(measuring, data, size);

    if (n < 0) {
        return (int)n;
    }
    return (size_t)n == size ? 0 : wrong(measuring, "it is cut off");
}

/* The bytes of a section, into those of the digests that are not NULL. */
static int digest_section(struct measuring *measuring, uint64_t size, EVP_MD_CTX *one, EVP_MD_CTX *two)
{
    bool good = true;

    while (size > 0 && good) {
        size_t part = size < PIECE ? (size_t)size : PIECE;
        int rv = take_all(measuring, measuring->piece, part);
        if (rv != 0) {
            return rv;
        }
        good = (!one || EVP_DigestUpdate(one, measuring->piece, part) == 1) &&
               (!two || EVP_DigestUpdate(two, measuring->piece, part) == 1);
        size -= part;
    }
    return good ? 0 : failed(measuring);
}

/* ---- The signature ---- */

/* Bytes are a byte string, or, as the format's own tool writes them, an array of numbers. */
static bool take_bytes(const struct answer *at, uint8_t *data, size_t room, size_t *ret_size)
{
    struct answer_walk walk;
    struct answer entry;
    const uint8_t *string;
    uint64_t value;

    if (answer_bytes(at, &string, ret_size) && *ret_size <= room) {
        memcpy(data, string, *ret_size);
        return true;
    }
    *ret_size = 0;
    if (!answer_walk_array(at, &walk)) {
        return false;
    }
    while (answer_next(&walk, NULL, &entry)) {
        if (*ret_size == room || !answer_uint(&entry, &value) || value > UINT8_MAX) {
            return false;
        }
        data[(*ret_size)++] = (uint8_t)value;
    }
    return true;
}

/* Else OpenSSL asks at the terminal, for whatever an image has encrypted. */
static int no_passphrase(char *buffer UNUSED, int size UNUSED, int writing UNUSED, void *data UNUSED)
{
    return -1;
}

/* [{"signing_certificate": PEM, "signature": ...}, ...]: the first one's certificate. NULL: there is none. */
static X509 *read_certificate(const uint8_t *section, size_t size, uint8_t *pem, size_t room)
{
    struct answer all, first, at;
    struct answer_walk walk;
    size_t length;

    if (!answer_is_whole(section, size, SIGNATURE_MAX, &all) || !answer_walk_array(&all, &walk) ||
        !answer_next(&walk, NULL, &first) || !answer_find(&first, "signing_certificate", &at) ||
        !take_bytes(&at, pem, room, &length)) {
        return NULL;
    }
    BIO *bio = BIO_new_mem_buf(pem, (int)length);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
    BIO_free(bio);
    return certificate;
}

/* A measurement out of the hash of what is measured. */
static bool extend(const uint8_t hash[EIF_PCR], uint8_t pcr[EIF_PCR])
{
    uint8_t both[2 * EIF_PCR] = {0};

    memcpy(both + EIF_PCR, hash, EIF_PCR);
    return EVP_Digest(both, sizeof both, pcr, NULL, EVP_sha384(), NULL) == 1;
}

static int measure_certificate(struct measuring *measuring, X509 *certificate)
{
    uint8_t hash[EIF_PCR];

    if (X509_digest(certificate, EVP_sha384(), hash, NULL) != 1 || !extend(hash, measuring->eif->pcr8)) {
        return failed(measuring);
    }
    measuring->eif->has_signature = true;
    return 0;
}

static int take_signature(struct measuring *measuring, uint64_t size)
{
    if (size > SIGNATURE_MAX || measuring->eif->has_signature) {
        return wrong(measuring, "its signature is too large, or there are two");
    }
    uint8_t *section = malloc(2 * SIGNATURE_MAX);
    if (!section) {
        return failed(measuring);
    }
    int rv = take_all(measuring, section, (size_t)size);
    if (rv == 0) {
        X509 *certificate = read_certificate(section, (size_t)size, section + SIGNATURE_MAX, SIGNATURE_MAX);
        rv = certificate ? measure_certificate(measuring, certificate)
                         : wrong(measuring, "its signature has no certificate that can be read");
        X509_free(certificate);
        ERR_clear_error();
    }
    free(section);
    return rv;
}

/* ---- The sections ---- */

static int take_section(struct measuring *measuring, const struct section *section)
{
    uint64_t size = be64toh(section->size);

    switch (be16toh(section->type)) {
    case KERNEL:
    case COMMAND_LINE:
        return digest_section(measuring, size, measuring->image, measuring->boot);
    case RAMDISK:
        return digest_section(measuring, size, measuring->image,
                              measuring->eif->ramdisks++ == 0 ? measuring->boot : measuring->application);
    case SIGNATURE:
        return take_signature(measuring, size);
    case METADATA:
        return digest_section(measuring, size, NULL, NULL);
    default:
        return wrong(measuring, "it has a section of an unknown kind");
    }
}

static int take_sections(struct measuring *measuring)
{
    struct section section;
    long n;

    while ((n = take(measuring, &section, sizeof section)) == (long)sizeof section) {
        int rv = take_section(measuring, &section);
        if (rv != 0) {
            return rv;
        }
        measuring->sections++;
    }
    if (n < 0) {
        return (int)n;
    }
    return n == 0 ? 0 : wrong(measuring, "it is cut off, or has bytes behind its last section");
}

/* What the checksum is of: everything but itself. */
static int take_header(struct measuring *measuring, struct header *header)
{
    int rv = take_all(measuring, header, sizeof *header - sizeof header->crc);
    uint32_t crc = measuring->crc;

    if (rv == 0) {
        rv = take_all(measuring, &header->crc, sizeof header->crc);
    }
    measuring->crc = crc;
    if (rv == 0 && memcmp(header->magic, ".eif", sizeof header->magic) != 0) {
        rv = wrong(measuring, "it does not begin as one");
    }
    measuring->eif->version = be16toh(header->version);
    measuring->eif->arm64 = be16toh(header->flags) & FLAG_ARM64;
    return rv;
}

static int check(struct measuring *measuring, const struct header *header)
{
    if (measuring->sections != be16toh(header->sections)) {
        return wrong(measuring, "its header tells of another number of sections");
    }
    /* Version 1 has none. */
    if (measuring->eif->version > 1 && measuring->crc != be32toh(header->crc)) {
        return wrong(measuring, "its checksum does not hold");
    }
    return measuring->eif->ramdisks > 0 ? 0 : wrong(measuring, "it has no ramdisk");
}

static bool conclude(EVP_MD_CTX *digest, uint8_t pcr[EIF_PCR])
{
    uint8_t hash[EIF_PCR];

    return EVP_DigestFinal_ex(digest, hash, NULL) == 1 && extend(hash, pcr);
}

static int measure(struct measuring *measuring)
{
    struct header header;
    struct eif *eif = measuring->eif;

    int rv = take_header(measuring, &header);
    if (rv == 0) {
        rv = take_sections(measuring);
    }
    if (rv == 0) {
        rv = check(measuring, &header);
    }
    if (rv == 0 && (!conclude(measuring->image, eif->pcr0) || !conclude(measuring->boot, eif->pcr1) ||
                    !conclude(measuring->application, eif->pcr2))) {
        rv = failed(measuring);
    }
    return rv;
}

static EVP_MD_CTX *begin_digest(void)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();

    if (digest && EVP_DigestInit_ex(digest, EVP_sha384(), NULL) != 1) {
        EVP_MD_CTX_free(digest);
        digest = NULL;
    }
    return digest;
}

int eif_measure(FILE *in, struct eif *ret, struct error *err)
{
    struct measuring measuring = {.in = in,
                                  .eif = ret,
                                  .image = begin_digest(),
                                  .boot = begin_digest(),
                                  .application = begin_digest(),
                                  .piece = malloc(PIECE),
                                  .err = err};

    memset(ret, 0, sizeof *ret);
    bool ready = measuring.image && measuring.boot && measuring.application && measuring.piece;
    int rv = ready ? measure(&measuring) : failed(&measuring);
    EVP_MD_CTX_free(measuring.image);
    EVP_MD_CTX_free(measuring.boot);
    EVP_MD_CTX_free(measuring.application);
    free(measuring.piece);
    return rv;
}
