/*
 * bench_kms: decrypts by KMS, as many as can be had one after another (bench/kms).
 *
 *     bench_kms calls     CLIENT [--connect ADDRESS | --raw ADDRESS] [--threads N] [--seconds N]    one client, connections kept
 *     bench_kms both      CLIENT --connect ADDRESS --raw ADDRESS [--seconds N]                      in turns: what one way adds
 *     bench_kms processes [--threads N] [--seconds N] -- PROGRAM [ARGUMENT...]                      a process for each
 *
 * CLIENT is --ciphertext FILE --ca-file FILE --insecure-nsm ADDRESS; region and credentials are the environment's. It prints one line
 * of JSON, and any call that fails ends it.
 */
#include "load.h"

#include "postern/kms.h"
#include <fcntl.h>
#include <getopt.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 64
#define FIGURES_MAX 200000
#define BLOB_MAX    6144
#define WARM_UP     3
#define TIMEOUT_MS  60000

extern char **environ;

struct figures {
    double *took; /* seconds each */
    unsigned count;
};

struct bench {
    struct postern_kms_options direct, session;
    const char *connect, *raw;
    unsigned threads;
    double seconds, until;
    char blob[BLOB_MAX];
    size_t blob_size;
    char **program;
};

struct worker {
    struct bench *bench;
    struct postern_kms *kms; /* NULL: a process for each */
    struct figures figures;
    pthread_t thread;
};

static void note(struct figures *figures, double seconds)
{
    if (figures->count == FIGURES_MAX) {
        die("more than %d calls in one thread: choose a shorter time", FIGURES_MAX);
    }
    figures->took[figures->count++] = seconds;
}

static struct figures figures_new(unsigned most)
{
    struct figures figures = {.took = calloc(most, sizeof(double))};
    if (figures.took == NULL) {
        die("out of memory");
    }
    return figures;
}

/* ---- One decrypt ---- */

static void decrypt(const struct bench *bench, struct postern_kms *kms)
{
    struct postern_kms_decrypt_request request;
    struct postern_secret secret;
    struct postern_error err;
    postern_kms_decrypt_request_init(&request);
    request.ciphertext = bench->blob;
    request.ciphertext_length = bench->blob_size;
    if (postern_kms_decrypt(kms, &request, &secret, &err) != 0) {
        die("%s", err.message);
    }
    postern_secret_wipe(&secret);
}

static void run_process(const struct bench *bench)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int r = posix_spawn(&pid, bench->program[0], &actions, NULL, bench->program, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0 || waitpid(pid, &status, 0) != pid) {
        die("cannot run %s: %s", bench->program[0], strerror(r));
    }
    if (status != 0) {
        die("%s ended with status %x", bench->program[0], (unsigned)status);
    }
}

static double one(const struct bench *bench, struct postern_kms *kms)
{
    double started = now();
    if (kms != NULL) {
        decrypt(bench, kms);
    } else {
        run_process(bench);
    }
    return now() - started;
}

/* ---- What is measured ---- */

static struct postern_kms *open_client(const struct bench *bench, const struct postern_kms_options *options)
{
    struct postern_error err;
    struct postern_kms *kms;
    if (postern_kms_open(options, &kms, &err) != 0) {
        die("%s", err.message);
    }
    for (int i = 0; i < WARM_UP; i++) { /* the key, the document, the connection */
        decrypt(bench, kms);
    }
    return kms;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    while (now() < worker->bench->until) {
        note(&worker->figures, one(worker->bench, worker->kms));
    }
    return NULL;
}

static struct figures gather(struct worker *workers, unsigned count)
{
    unsigned total = 0;
    for (unsigned i = 0; i < count; i++) {
        total += workers[i].figures.count;
    }
    struct figures all = figures_new(total + 1);
    for (unsigned i = 0; i < count; i++) {
        memcpy(all.took + all.count, workers[i].figures.took, workers[i].figures.count * sizeof(double));
        all.count += workers[i].figures.count;
        free(workers[i].figures.took);
    }
    sort_figures(all.took, all.count);
    return all;
}

static int run_calls(struct bench *bench)
{
    struct worker workers[THREADS_MAX];
    struct postern_kms *kms = NULL;
    if (bench->program == NULL) {
        kms = open_client(bench, bench->connect != NULL ? &bench->session : &bench->direct);
    }
    double started = now();
    bench->until = started + bench->seconds;
    for (unsigned i = 0; i < bench->threads; i++) {
        workers[i] = (struct worker){.bench = bench, .kms = kms, .figures = figures_new(FIGURES_MAX)};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            die("no thread could be made");
        }
    }
    for (unsigned i = 0; i < bench->threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    double seconds = now() - started;
    struct figures all = gather(workers, bench->threads);
    printf("{\"calls\": %u, \"per_second\": %.2f, \"p50_us\": %.0f, \"p99_us\": %.0f}\n", all.count,
           all.count / seconds, 1e6 * percentile(all.took, all.count, 0.5),
           1e6 * percentile(all.took, all.count, 0.99));
    free(all.took);
    postern_kms_close(kms);
    return 0;
}

/* In turns, so that whatever else the machine does strikes both alike. */
static int run_both(struct bench *bench)
{
    struct postern_kms *direct = open_client(bench, &bench->direct),
                       *session = open_client(bench, &bench->session);
    struct figures by_direct = figures_new(FIGURES_MAX), by_session = figures_new(FIGURES_MAX);
    for (double until = now() + bench->seconds; now() < until;) {
        note(&by_direct, one(bench, direct));
        note(&by_session, one(bench, session));
        note(&by_session, one(bench, session));
        note(&by_direct, one(bench, direct));
    }
    sort_figures(by_direct.took, by_direct.count);
    sort_figures(by_session.took, by_session.count);
    printf("{\"calls\": %u", by_direct.count + by_session.count);
    for (unsigned share = 10; share <= 50; share += 40) {
        double one_way = percentile(by_direct.took, by_direct.count, share / 100.0);
        double other = percentile(by_session.took, by_session.count, share / 100.0);
        printf(", \"direct_p%u_us\": %.0f, \"session_p%u_us\": %.0f, \"ratio_p%u\": %.4f", share,
               1e6 * one_way, share, 1e6 * other, share, other / one_way);
    }
    puts("}");
    free(by_direct.took);
    free(by_session.took);
    postern_kms_close(direct);
    postern_kms_close(session);
    return 0;
}

/* ---- The command line ---- */

static void read_blob(struct bench *bench, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        die("cannot read %s", path);
    }
    bench->blob_size = fread(bench->blob, 1, sizeof bench->blob, file);
    fclose(file);
}

static void read_options(struct bench *bench, int argc, char **argv)
{
    static const struct option options[] = {
        {"connect", required_argument, NULL, 'c'},    {"raw", required_argument, NULL, 'r'},
        {"ca-file", required_argument, NULL, 'a'},    {"insecure-nsm", required_argument, NULL, 'n'},
        {"ciphertext", required_argument, NULL, 'b'}, {"threads", required_argument, NULL, 't'},
        {"seconds", required_argument, NULL, 's'},    {NULL, 0, NULL, 0},
    };
    struct postern_kms_options *client = &bench->direct;
    for (int option; (option = getopt_long(argc, argv, "+", options, NULL)) >= 0;) {
        switch (option) {
        case 'c':
            bench->connect = optarg;
            break;
        case 'r':
            bench->raw = optarg;
            break;
        case 'a':
            client->ca_file = optarg;
            break;
        case 'n':
            client->insecure_nsm = optarg;
            break;
        case 'b':
            read_blob(bench, optarg);
            break;
        case 't':
            bench->threads = (unsigned)atoi(optarg);
            break;
        case 's':
            bench->seconds = atof(optarg);
            break;
        default:
            die("that is no option, or lacks its value");
        }
    }
    client->timeout_ms = TIMEOUT_MS;
    client->connections = THREADS_MAX;
    bench->session = bench->direct;
    bench->session.address = bench->connect;
    bench->direct.raw_address = bench->raw;
    bench->program = optind < argc ? argv + optind : NULL;
}

int main(int argc, char **argv)
{
    static struct bench bench = {.threads = 1, .seconds = 3};
    postern_kms_options_init(&bench.direct);
    prepare_process();
    if (argc < 2) {
        die("calls, both or processes is expected");
    }
    read_options(&bench, argc - 1, argv + 1);
    if (bench.threads < 1 || bench.threads > THREADS_MAX) {
        die("1 to %d threads", THREADS_MAX);
    }
    if (strcmp(argv[1], "both") == 0 && bench.connect != NULL && bench.raw != NULL) {
        return run_both(&bench);
    }
    bool processes = strcmp(argv[1], "processes") == 0;
    if ((processes || strcmp(argv[1], "calls") == 0) && processes == (bench.program != NULL)) {
        return run_calls(&bench);
    }
    die("that is not how it is called");
}
