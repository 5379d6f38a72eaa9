/*
 * tls/staple: a file that is to be an OCSP response, judged as a word about one certificate. The
 * responses of the corpus are about it, so that what is done to them reaches all that judges.
 */
#include "check.h"

#include "base/err.h"
#include "tls/staple.h"

#include <string.h>

/* The leaf, serial number 7, and its issuer; public, and for nothing else. */
static const char chain[] = "-----BEGIN CERTIFICATE-----\n"
                            "MIIBeTCCAR+gAwIBAgIBBzAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlTdGFwbGUg\n"
                            "Q0EwIBcNMjYxMTI4MDMyNjM2WhgPMjEyNjExMDQwMzI2MzZaMA8xDTALBgNVBAMM\n"
                            "BGxlYWYwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASK9KvLDliYZkZwIlnTLt71\n"
                            "eXJcJnVTpTrvyoPCLs8w7TuFzAkuwM7soFRjR3WYKDhdtjloSlt2GgwQL8VzswKv\n"
                            "o2UwYzAJBgNVHRMEAjAAMBYGA1UdEQQPMA2CC2V4YW1wbGUuY29tMB0GA1UdDgQW\n"
                            "BBT0C7EJVt6URrJH6InfNMO4vSWpVDAfBgNVHSMEGDAWgBRK/Cj6hQ4LEsxYgP52\n"
                            "ZasBumEivTAKBggqhkjOPQQDAgNIADBFAiEA94Uj8ehj++u4TR+T0ZfkjMvFTgZ1\n"
                            "8i4u2o8BxYrhVWICIE7Xtit1zxwmyZ5sqdi86Z2D/MnCMrkDdg/ibyfd0nXc\n"
                            "-----END CERTIFICATE-----\n"
                            "-----BEGIN CERTIFICATE-----\n"
                            "MIIBezCCASKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAlTdGFwbGUg\n"
                            "Q0EwIBcNMjYxMTI4MDMyNjM2WhgPMjEyNjExMDQwMzI2MzZaMBQxEjAQBgNVBAMM\n"
                            "CVN0YXBsZSBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJK6r+ISwcm91LZW\n"
                            "q0CuHMB9O3mfP0s4JVgrjoV1IAweGjoGoI91n9HmiRDMMe2YiVWaddUoa45AVBZR\n"
                            "hdRc5eujYzBhMB0GA1UdDgQWBBRK/Cj6hQ4LEsxYgP52ZasBumEivTAfBgNVHSME\n"
                            "GDAWgBRK/Cj6hQ4LEsxYgP52ZasBumEivTAPBgNVHRMBAf8EBTADAQH/MA4GA1Ud\n"
                            "DwEB/wQEAwIBBjAKBggqhkjOPQQDAgNHADBEAiBeqL8VI1SF347ZcWNlJaXdLniH\n"
                            "5xceqOR8YFGGM/HVcAIgK9wr7TZzK6G4d9qnevEHx9A0XsY94FQ+xYvxWCF+pPI=\n"
                            "-----END CERTIFICATE-----\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fk_cert cert;
    enum fk_staple_fault fault;
    struct fk_staple_term term;
    struct fk_staple *staple;
    struct fk_reader reader;
    int err;

    if (cert.leaf == NULL)
        CHECK(fk_cert_from_pem(NULL, chain, sizeof chain - 1, &cert) == FK_OK);
    fk_reader_init(&reader, data, size);
    if (fk_staple_new(reader, &staple) != FK_OK)
        return 0;
    /* In base64 it is longer. */
    CHECK(fk_staple_wire_len(staple) <= 8 + size);
    err = fk_staple_judge(staple, &cert, &fault, &term);
    CHECK(err == FK_OK || err == FK_ERR_VERIFY);
    if (err == FK_OK)
        CHECK(!fk_staple_in_force(&term, term.until) && !fk_staple_in_force(&term, term.from - 1));
    else
        CHECK(strlen(fk_staple_fault_text(fault)) > 0 && fault != FK_STAPLE_LONG);
    fk_staple_unref(staple);
    return 0;
}
