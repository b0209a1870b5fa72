/* The words of a status line. */
#ifndef POSTERN_HTTP_STATUS_H
#define POSTERN_HTTP_STATUS_H

/* "Not Found" for 404; "Unknown" for what RFC 9110 does not have. */
const char *http_status_words(unsigned status);

#endif
