/*
 * A request as it is canonicalised for signing: the first byte chooses S3's rule or the others', the first line is the target, each
 * other one a header. The form has its six parts and no other line break; by S3's rule, which decodes first, the path and
 * the query come out as they went in when they are canonicalised again.
 */
#include "aws/canonical.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool good)
{
    if (!good) {
        abort();
    }
}

static unsigned lines_in(const char *text)
{
    unsigned lines = 0;
    while ((text = strchr(text, '\n')) != NULL) {
        lines++;
        text++;
    }
    return lines;
}

static unsigned names_in(const char *names)
{
    unsigned count = *names != '\0';
    for (; *names != '\0'; names++) {
        count += *names == ';';
    }
    return count;
}

/* The canonical path and query as one target. */
static void make_target(const char *canonical, struct text *target)
{
    const char *path = strchr(canonical, '\n') + 1;
    const char *query = strchr(path, '\n') + 1;
    text_add_bytes(target, path, (size_t)(query - 1 - path));
    text_add_char(target, '?');
    text_add_bytes(target, query, strcspn(query, "\n"));
}

static void check_again(struct aws_request request, const char *canonical)
{
    struct text target = TEXT_INIT, again = TEXT_INIT, names = TEXT_INIT;
    make_target(canonical, &target);
    request.target = text_string(&target);
    need(aws_canonical(&request, true, &again, &names, NULL) == 0);
    need(strcmp(text_string(&again), canonical) == 0);
    text_release(&target);
    text_release(&again);
    text_release(&names);
}

static size_t take_headers(char *lines, struct aws_header *headers, size_t most)
{
    size_t count = 0;
    char *save;
    for (char *line = strtok_r(lines, "\n", &save); line != NULL && count < most;
         line = strtok_r(NULL, "\n", &save)) {
        char *colon = strchr(line, ':');
        if (colon != NULL) {
            *colon = '\0';
            headers[count++] = (struct aws_header){line, colon + 1};
        }
    }
    return count;
}

static void fuzz(bool as_is, char *text)
{
    static struct aws_header headers[AWS_HEADERS_MAX + 2];
    struct text out = TEXT_INIT, names = TEXT_INIT;
    char *end = text + strcspn(text, "\n");
    size_t count = *end == '\n' ? take_headers(end + 1, headers, ARRAY_SIZE(headers)) : 0;
    *end = '\0';
    struct aws_request request = {"GET", text, headers, count, AWS_UNSIGNED_PAYLOAD};
    if (aws_canonical(&request, as_is, &out, &names, NULL) == 0) {
        need(lines_in(out.data) == 5 + names_in(text_string(&names)));
        if (as_is) {
            check_again(request, out.data);
        }
    }
    text_release(&out);
    text_release(&names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 16384 || memchr(data, '\0', size) != NULL) {
        return 0;
    }
    char *text = calloc(1, size);
    need(text != NULL);
    memcpy(text, data + 1, size - 1);
    fuzz(data[0] % 2 == 0, text);
    free(text);
    return 0;
}
