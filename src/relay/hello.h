/*
 * The server name in a TLS ClientHello, read from the first bytes of a stream without touching them.
 *
 * Sans-I/O: the caller keeps the bytes (they are replayed to the destination as they came) and calls
 * hello_feed() with each new piece. The handshake message is put together across records and across any
 * split of the input; it is parsed once, when it is whole, so the work is linear in the bytes however
 * they arrive. Bounded: a message over HELLO_MESSAGE_MAX, or one spread over more than HELLO_WIRE_MAX
 * bytes of records, is refused before it is stored.
 *
 * The judge of what the name is, is OpenSSL's own reading (RFC 6066 section 3, RFC 8446 sections 4.1.2
 * and 5.1): where OpenSSL would fail the handshake over the hello's form, HELLO_BAD is the answer. An
 * encrypted ClientHello (ECH) is judged by its outer name, which is what the network can see.
 *
 * Stricter than OpenSSL, where no honest client is: HELLO_BAD for a name that is empty, ends in two dots
 * or has a byte outside 0x21..0x7e (OpenSSL hands on any byte but NUL), for any extension type that comes
 * twice (OpenSSL looks only at those it knows), for an empty record, one of another type before the
 * message is whole, one that goes on after it, and for what is over the bounds; HELLO_NOT_TLS for a hello
 * in SSL 2.0's format. A name is otherwise handed on as it is: whether it is a host name is for the policy
 * to say.
 */
#ifndef POSTERN_RELAY_HELLO_H
#define POSTERN_RELAY_HELLO_H

#include <stddef.h>

#define HELLO_MESSAGE_MAX 65536 /* of the handshake message; the largest post-quantum hellos need 20 KiB */
#define HELLO_WIRE_MAX    81920 /* of the records that carry it: a record a byte would be 6x */
#define HELLO_NAME_MAX    256

enum hello_state {
    HELLO_MORE,    /* not whole yet: feed more */
    HELLO_NAME,    /* whole, and `name` is set: lower case, a final dot kept off */
    HELLO_NO_NAME, /* whole, and it names no server */
    HELLO_NOT_TLS, /* the first bytes are not those of a TLS handshake */
    HELLO_BAD,     /* TLS, but malformed or out of bounds */
};

struct hello {
    enum hello_state state; /* once not HELLO_MORE it stays */
    unsigned char *message; /* owned: the message so far; NULL before its first byte and once judged */
    size_t message_length, message_capacity;
    size_t wire_length;      /* bytes taken so far; of a whole hello, its records' bytes exactly */
    unsigned char header[5]; /* the record header being read */
    unsigned header_length;  /* bytes of it seen */
    size_t record_left;      /* bytes of the record's payload still to come */
    char name[HELLO_NAME_MAX];
};

void hello_init(struct hello *hello);
void hello_release(struct hello *hello);

/* Takes the next `length` bytes of the stream; records after the ClientHello's are ignored. Returns the
 * state; running out of memory is HELLO_BAD. */
enum hello_state hello_feed(struct hello *hello, const void *data, size_t length);

#endif
