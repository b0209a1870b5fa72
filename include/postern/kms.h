/*
 * libpostern-kms: AWS KMS from inside a Nitro Enclave, answered to the enclave alone.
 *
 *     struct postern_kms_options options;
 *     struct postern_kms_decrypt_request request;
 *     struct postern_secret secret;
 *
 *     postern_kms_options_init(&options);
 *     options.region = "us-east-1";
 *     if (postern_kms_open(&options, &kms, &err) < 0)
 *         die(err.message);
 *     postern_kms_decrypt_request_init(&request);
 *     request.ciphertext = blob;
 *     request.ciphertext_length = size;
 *     if (postern_kms_decrypt(kms, &request, &secret, &err) < 0)
 *         die(err.message);
 *     ...
 *     postern_secret_wipe(&secret);
 *     postern_kms_close(kms);
 *
 * WHAT IT DOES. Each call carries an attestation document of the Nitro Security Module, which names a public key that
 * was made in this process. KMS compares the document with the key's policy, and encrypts what it answers for that
 * key: nobody between KMS and this process can read it, and TLS, which is always verified, ends in this process, too.
 * An answer that comes in the clear, or not encrypted for this process, is wiped and refused: see -EBADMSG.
 *
 * THE WAY. By default calls go through a relay route of the Postern daemon on the parent, `kms`, whose host it lets through
 * but cannot read; or through a raw listener's address. Connections are kept and used again, so that a call does not cost a
 * handshake.
 *
 * RESULTS. A function that can fail returns 0, or a negative errno value with the reason in `err`:
 *
 *     -EINVAL       an argument or an option is not what it may be
 *     -EACCES       KMS denied it: AccessDeniedException. The key's policy, or the caller's permissions
 *     -ENOKEY       there are no AWS credentials to be had, or KMS does not accept them
 *     -EREMOTEIO    KMS answered another error; `word` has AWS's name for it ("NotFoundException")
 *     -EBUSY        KMS throttles, or is in trouble itself, and was still when the time was over
 *     -EBADMSG      KMS answered in the clear, or what it answered cannot be opened: refused
 *     -EPROTO       what came is no answer of KMS's
 *     -EKEYREJECTED who answered is not KMS: its certificate is not one that is trusted for that name
 *     -ENOTCONN     KMS cannot be reached, or the connection was lost on the way
 *     -ETIMEDOUT    the time was over
 *     -ENODEV       there is no Nitro Security Module: this is no enclave
 *     -EIO          the Nitro Security Module, or the cryptographic library, failed
 *     -ENOMEM       out of memory
 *     -ECHILD       called in a child process that inherited the client by fork()
 *
 * `err` is that of <postern/postern.h>, and may be NULL. `word` has AWS's name for an error that KMS answered, as far as this
 * version knows it, and the protocol's where the daemon refused the way. No secret is ever in it.
 *
 * THREADS. One client serves any number of threads, and every function may be called by each at any time, but for
 * postern_kms_close(): nobody else may be in a function with that client. All functions wait, up to their time.
 *
 * TIME. `timeout_ms` bounds a call whole: connecting, fetching credentials, waiting for other calls that ask the Nitro Security Module, and
 * trying again when KMS throttles. Three things it does not bound: the look-up of a name in `raw_address`, making an RSA key (some 100 ms),
 * and the answer of the Nitro Security Module to the one call that asks it, for which its driver may take two minutes.
 *
 * SECRETS that KMS answers lie in memory of their own, which is locked where the system allows (RLIMIT_MEMLOCK), is left out of
 * core dumps, and is wiped by postern_secret_wipe(). Credentials, keys and what TLS works with lie in the program's, and are
 * wiped: docs/kms-client.md says how a program protects all of its memory.
 *
 * What the library reads and writes besides, it wipes where it can. What it cannot reach are OpenSSL's buffers for TLS records, and the copies
 * that jansson's parser makes of the answer that credentials come with: a program that wants the latter wiped, too, gives jansson an
 * allocator that does so (json_set_alloc_funcs(), which concerns the whole process, and so is not the library's to call).
 *
 * PROCESSES. After fork() the client is the parent's: in the child all functions fail with -ECHILD, and postern_kms_close() leaves
 * the parent's connections alone.
 *
 * SIGNALS. The library raises none (SIGPIPE neither), and none ends a wait.
 *
 * The library uses libpostern, OpenSSL and jansson.
 */
#ifndef POSTERN_KMS_H
#define POSTERN_KMS_H

#include <postern/postern.h>

#ifdef __cplusplus
extern "C" {
#endif

struct postern_kms;

/* ---- The client ---- */

/* A key and an attestation document for each call, instead of one key for the process and a document that is renewed every
 * few minutes. Costs some 100 ms of the processor's each time. */
#define POSTERN_KMS_KEY_PER_CALL 1u

/* Fill it in after postern_kms_options_init(). 0 and NULL stand for the default everywhere. Nothing of it need outlive the
 * call but `postern`. */
struct postern_kms_options {
    size_t size; /* of this struct, as the program knows it; set by postern_kms_options_init() */
    unsigned flags;

    /* The way to KMS: a route of the daemon's ... */
    struct postern
        *postern;        /* a threaded connection of the program's, which outlives the client; or NULL: ... */
    const char *address; /* ... one of its own, to this address, as for postern_connect() */
    const char *route;   /* "kms" */
    /* ... or a raw listener that leads there, instead of all three: vsock://parent:8000 */
    const char *raw_address;

    const char *region; /* $AWS_REGION, or else $AWS_DEFAULT_REGION */
    const char *host;   /* what KMS is called, in TLS and HTTP: kms.REGION.amazonaws.com */
    /* Certificates (PEM) of those who may vouch for that name. Else $SSL_CERT_FILE, the system's. */
    const char *ca_file;

    /* Where AWS credentials come from: "given" (below), "environment", "file", "container" (the endpoint of ECS or EKS),
     * "metadata" (the instance's role, by version 2 of the metadata service), or "auto": the given ones if there are, else
     * the first of the others that is set up. */
    const char *credentials;
    const char *credentials_file; /* $AWS_SHARED_CREDENTIALS_FILE, ~/.aws/credentials */
    const char *profile;          /* $AWS_PROFILE, "default" */
    const char *metadata_route;   /* "imds": a route to tcp://169.254.169.254:80 */
    /* ... or where the metadata service is asked instead, if the client has no connection to the daemon: vsock://parent:8001 */
    const char *metadata_address;
    const char *access_key_id, *secret_access_key, *session_token;

    /* INSECURE: a software NSM at this address, for tests, instead of the enclave's own. What it vouches for, anybody could. */
    const char *insecure_nsm;

    unsigned connections; /* to KMS at once, each used by one call at a time: 16, at most 1024 */
    uint32_t timeout_ms;  /* for a call, unless it says another: 10000 */
};

static inline void postern_kms_options_init(struct postern_kms_options *options)
{
    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
}

/* Checks the options, reads the CA file, and makes a client. KMS, the daemon, credentials and the NSM are not asked for anything yet.
 * -EINVAL, -ENOMEM, -EIO, or another negative errno value: a file cannot be read. */
POSTERN_API int postern_kms_open(const struct postern_kms_options *options, struct postern_kms **ret,
                                 struct postern_error *err);

/* Closes the connections, and wipes keys and credentials. NULL is let pass. */
POSTERN_API void postern_kms_close(struct postern_kms *kms);

/* ---- Secrets ---- */

struct postern_secret {
    void *data; /* NULL: there is none */
    size_t length;
};

/* Wipes and frees. An empty one, and NULL, are let pass. */
POSTERN_API void postern_secret_wipe(struct postern_secret *secret);

/* ---- Calls ---- */

/* A pair of the encryption context: strings in UTF-8. */
struct postern_kms_context {
    const char *key;
    const char *value;
};

/* What calls have in common. */
struct postern_kms_call {
    uint32_t timeout_ms; /* 0: that of the client */
    size_t context_count;
    const struct postern_kms_context *context;
    size_t grant_token_count;
    const char *const *grant_tokens;
    const void *reserved[4]; /* NULL: room for what later versions know */
};

/* Fill each in after its ..._init(). */
struct postern_kms_decrypt_request {
    size_t size;
    struct postern_kms_call call;
    const void *ciphertext; /* 1 to 6144 bytes */
    size_t ciphertext_length;
    const char *key_id;    /* only if it was encrypted under this one; NULL: whichever the ciphertext names */
    const char *algorithm; /* "SYMMETRIC_DEFAULT"; "RSAES_OAEP_SHA_256", ... want a key_id */
};

static inline void postern_kms_decrypt_request_init(struct postern_kms_decrypt_request *request)
{
    memset(request, 0, sizeof *request);
    request->size = sizeof *request;
}

/* Decrypt. *ret is the caller's, until postern_secret_wipe(). */
POSTERN_API int postern_kms_decrypt(struct postern_kms *kms,
                                    const struct postern_kms_decrypt_request *request,
                                    struct postern_secret *ret, struct postern_error *err);

struct postern_kms_data_key_request {
    size_t size;
    struct postern_kms_call call;
    const char *
        key_id; /* the key that encrypts the data key: ARN, or ID or alias/NAME of the credentials' account */
    const char *key_spec; /* "AES_256" or "AES_128"; NULL: AES_256, unless `bytes` is set */
    unsigned bytes;       /* instead: the data key's length, 1 to 1024 */
};

static inline void postern_kms_data_key_request_init(struct postern_kms_data_key_request *request)
{
    memset(request, 0, sizeof *request);
    request->size = sizeof *request;
}

struct postern_kms_data_key {
    struct postern_secret plaintext;
    void *ciphertext; /* for postern_kms_decrypt() later, with the same context */
    size_t ciphertext_length;
    char *key_id; /* the ARN of the key that encrypted it */
};

/* GenerateDataKey. *ret is the caller's, until postern_kms_data_key_release(). */
POSTERN_API int postern_kms_generate_data_key(struct postern_kms *kms,
                                              const struct postern_kms_data_key_request *request,
                                              struct postern_kms_data_key *ret, struct postern_error *err);
POSTERN_API void postern_kms_data_key_release(struct postern_kms_data_key *data_key);

struct postern_kms_data_key_pair_request {
    size_t size;
    struct postern_kms_call call;
    const char *key_id;
    const char *key_pair_spec; /* "ECC_NIST_P256", "RSA_2048", ... */
};

static inline void postern_kms_data_key_pair_request_init(struct postern_kms_data_key_pair_request *request)
{
    memset(request, 0, sizeof *request);
    request->size = sizeof *request;
}

struct postern_kms_data_key_pair {
    struct postern_secret private_key; /* PKCS #8, DER */
    void *private_key_ciphertext;      /* for postern_kms_decrypt() later, with the same context */
    size_t private_key_ciphertext_length;
    void *public_key; /* SubjectPublicKeyInfo, DER */
    size_t public_key_length;
    char *key_id;
};

/* GenerateDataKeyPair. *ret is the caller's, until postern_kms_data_key_pair_release(). */
POSTERN_API int postern_kms_generate_data_key_pair(struct postern_kms *kms,
                                                   const struct postern_kms_data_key_pair_request *request,
                                                   struct postern_kms_data_key_pair *ret,
                                                   struct postern_error *err);
POSTERN_API void postern_kms_data_key_pair_release(struct postern_kms_data_key_pair *pair);

struct postern_kms_random_request {
    size_t size;
    struct postern_kms_call call;
    unsigned bytes; /* 1 to 1024 */
};

static inline void postern_kms_random_request_init(struct postern_kms_random_request *request)
{
    memset(request, 0, sizeof *request);
    request->size = sizeof *request;
}

/* GenerateRandom. */
POSTERN_API int postern_kms_generate_random(struct postern_kms *kms,
                                            const struct postern_kms_random_request *request,
                                            struct postern_secret *ret, struct postern_error *err);

struct postern_kms_shared_secret_request {
    size_t size;
    struct postern_kms_call call; /* no context */
    const char *key_id;           /* of a key for key agreement */
    const void *public_key;       /* the other side's: SubjectPublicKeyInfo, DER */
    size_t public_key_length;
};

static inline void postern_kms_shared_secret_request_init(struct postern_kms_shared_secret_request *request)
{
    memset(request, 0, sizeof *request);
    request->size = sizeof *request;
}

/* DeriveSharedSecret, by ECDH. */
POSTERN_API int postern_kms_derive_shared_secret(struct postern_kms *kms,
                                                 const struct postern_kms_shared_secret_request *request,
                                                 struct postern_secret *ret, struct postern_error *err);

#ifdef __cplusplus
}
#endif

#endif
