/*
 * posternctl eif measure: what the measurements of an enclave will be that is started from an image, without starting one.
 *
 * Under --json in the form that `nitro-cli build-enclave` prints.
 */
#include "attest/eif.h"
#include "ctl/ctl.h"
#include "ctl/hex.h"
#include <errno.h>
#include <jansson.h>
#include <string.h>

#define PCR_TEXT (2 * EIF_PCR + 1)

static json_t *pcr_json(const uint8_t pcr[EIF_PCR])
{
    char text[PCR_TEXT];

    return json_string(hex_write(pcr, EIF_PCR, text));
}

static json_t *to_json(const struct eif *eif)
{
    json_t *measurements =
        json_pack("{s:s, s:o, s:o, s:o}", "HashAlgorithm", "Sha384 { ... }", "PCR0", pcr_json(eif->pcr0),
                  "PCR1", pcr_json(eif->pcr1), "PCR2", pcr_json(eif->pcr2));

    if (eif->has_signature) {
        json_object_set_new(measurements, "PCR8", pcr_json(eif->pcr8));
    }
    return json_pack("{s:o}", "Measurements", measurements);
}

static void print_pcr(const struct ctl *ctl, unsigned index, const uint8_t pcr[EIF_PCR], const char *of)
{
    char text[PCR_TEXT];

    fprintf(ctl->out, "PCR%u  %s  %s\n", index, hex_write(pcr, EIF_PCR, text), of);
}

static int tell(const struct ctl *ctl, const struct eif *eif)
{
    if (ctl->json) {
        return ctl_print_json(ctl, to_json(eif));
    }
    fprintf(ctl->out, "an enclave image of version %u for %s, %s\n", eif->version,
            eif->arm64 ? "arm64" : "x86_64", eif->has_signature ? "signed" : "not signed");
    print_pcr(ctl, 0, eif->pcr0, "the whole image");
    print_pcr(ctl, 1, eif->pcr1, "kernel and boot ramdisk");
    print_pcr(ctl, 2, eif->pcr2, "the application");
    if (eif->has_signature) {
        print_pcr(ctl, 8, eif->pcr8, "the certificate it is signed with");
    }
    return CTL_DONE;
}

static int measure(const struct ctl *ctl, const char *file)
{
    struct error err = ERROR_INIT;
    struct eif eif;
    FILE *in = fopen(file, "re");

    if (!in) {
        error_errno(&err, -errno, "cannot read %s", file);
        return ctl_failed(ctl, err.text);
    }
    int rv = eif_measure(in, &eif, &err);
    fclose(in);
    if (rv != 0) {
        error_prefix(&err, "%s", file);
        return ctl_failed(ctl, err.text);
    }
    return tell(ctl, &eif);
}

int ctl_eif(struct ctl *ctl, int argc, char **argv)
{
    int code;

    if (ctl_next_option(ctl, argc, argv, NULL, &code) == CTL_OPTIONS_STOP) {
        return code;
    }
    if (argc - optind != 2 || strcmp(argv[optind], "measure") != 0) {
        return ctl_usage_error(ctl, "eif wants `measure FILE`");
    }
    return measure(ctl, argv[optind + 1]);
}
