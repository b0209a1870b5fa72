/* HTTP/1.1 on one connection of the simulator's: requests read and judged as the daemon does it, one after another. */
#ifndef POSTERN_SIM_HTTP_H
#define POSTERN_SIM_HTTP_H

#include "base/text.h"
#include "http/request.h"
#include "sim/wire.h"

#define SIM_HTTP_HEAD   ((size_t)32 * 1024)
#define SIM_HTTP_BODY   ((size_t)512 * 1024) /* an attestation document of 256 KiB in base64, and more */
#define SIM_HTTP_FIELDS 64

/* Spoils an answer on its way. */
enum sim_http_end {
    SIM_HTTP_WHOLE,
    SIM_HTTP_CLOSE, /* without an answer */
    SIM_HTTP_HALF   /* cut off in the middle */
};

struct sim_http_answer {
    unsigned status; /* 200 */
    const char *type;
    struct text headers; /* whole lines */
    struct text body;
    enum sim_http_end end;
    int delay_ms;
};

struct sim_http_exchange {
    const struct http_request *request; /* whole */
    struct text body;
};

typedef void (*sim_http_handler)(void *arg, const struct sim_http_exchange *exchange,
                                 struct sim_http_answer *answer);

/* Until either side has enough. */
void sim_http_serve(struct sim_wire *wire, sim_http_handler handler, void *arg);

/* Whether it is that method and path. */
bool sim_http_is(const struct sim_http_exchange *exchange, const char *method, const char *path);

/* The value of a header, a string in `buffer`. NULL: there is none, or it does not fit. */
const char *sim_http_header(const struct sim_http_exchange *exchange, const char *name, char *buffer,
                            size_t size);

#endif
