/*
 * What operators ask of the spool over the admin socket. Each answer is JSON, but for an export's; a refusal is text.
 *
 *     GET  /spool/stats                                   figures of the whole, and of each route and enclave
 *     GET  /spool/list?route=&state=&after=&limit=        records, without heads and bodies; `next` is the next `after`
 *     GET  /spool/show?id=N                               one record, with its head
 *     GET  /spool/export?id=N                             its request as it was taken, head and body (application/http)
 *     POST /spool/retry?id=N | ?all=yes&route=&state=     makes records ready: {"changed": n}; see spool.h
 *     POST /spool/drop?id=N  | ?all=yes&route=&state=     removes records
 *     POST /spool/verify                                  reads everything
 *
 * 404: no such record; 409: it is being delivered; 422: it is damaged; 503: the spool is not open.
 */
#ifndef POSTERN_DAEMON_SPOOL_ADMIN_H
#define POSTERN_DAEMON_SPOOL_ADMIN_H

#include "daemon/spool_keeper.h"
#include "http/server.h"

typedef void spool_answer_fn(struct spool_keeper *keeper, const struct config *config,
                             const struct http_message *request, struct http_answer *response);

spool_answer_fn spool_answer_stats, spool_answer_list, spool_answer_show, spool_answer_export,
    spool_answer_retry, spool_answer_drop, spool_answer_verify;

#endif
