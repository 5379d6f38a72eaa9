/*
 * Are the signatures that a key server gives good ones? By sampling: a P-256 verification costs
 * three signatures, and a client notices a bad one anyway; but it is the edge that must know first.
 *
 * Checked are the first of each channel, then one at random in many, and all of the next ones after
 * a bad one or when a client has complained.
 */
#include "keyclient/internal.h"

#include "base/err.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

struct scheme_row {
    uint16_t scheme; /* RFC 8446 section 4.2.3 */
    const char *digest;
    bool pss;
};

static const struct scheme_row schemes[] = {{0x0401, "SHA256", false}, {0x0501, "SHA384", false},
                                            {0x0601, "SHA512", false}, {0x0403, "SHA256", false},
                                            {0x0503, "SHA384", false}, {0x0603, "SHA512", false},
                                            {0x0804, "SHA256", true},  {0x0805, "SHA384", true},
                                            {0x0806, "SHA512", true},  {0x0807, NULL, false}};

static const struct scheme_row *find_scheme(uint16_t scheme)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (schemes[i].scheme == scheme)
            return &schemes[i];
    return NULL;
}

void fk_verify_channel_opened(struct fk_verify *verify)
{
    verify->of_channel = 0;
}

void fk_verify_suspect(struct fk_verify *verify)
{
    verify->all_left = FK_VERIFY_SUSPECT;
}

/* One in FK_VERIFY_ONE_IN, unpredictable to the key server; on failure of the generator, yes. */
static bool by_chance(void)
{
    uint8_t byte;

    _Static_assert(256 % FK_VERIFY_ONE_IN == 0, "no bias");
    return RAND_bytes(&byte, 1) != 1 || byte % FK_VERIFY_ONE_IN == 0;
}

static bool must_check(struct fk_verify *verify)
{
    if (verify->all_left > 0) {
        verify->all_left--;
        return true;
    }
    if (verify->of_channel < FK_VERIFY_FIRST) {
        verify->of_channel++;
        return true;
    }
    return by_chance();
}

static bool signature_good(const struct fk_key_ticket *ticket, const uint8_t *sig, size_t len)
{
    const struct scheme_row *row = find_scheme(ticket->scheme);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    bool good = false;

    if (row == NULL || ctx == NULL ||
        EVP_DigestVerifyInit_ex(ctx, &pctx, row->digest, NULL, NULL, ticket->public_key, NULL) != 1)
        goto out;
    if (row->pss && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1 ||
                     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) != 1))
        goto out;
    good = EVP_DigestVerify(ctx, sig, len, fk_ticket_tbs(ticket), ticket->tbs_len) == 1;
out:
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

int fk_verify_answer(struct fk_verify *verify, const struct fk_key_ticket *ticket,
                     const uint8_t *data, size_t len)
{
    if (ticket->opcode == FK_OP_DECRYPT)
        return len == FK_PREMASTER_SIZE ? FK_OK : FK_ERR_FORMAT;
    if (ticket->tbs_len == 0)
        return FK_OK; /* a call: its caller looks at it */
    if (len == 0 || len > (size_t)EVP_PKEY_get_size(ticket->public_key))
        return FK_ERR_FORMAT;
    if (must_check(verify) && !signature_good(ticket, data, len)) {
        fk_verify_suspect(verify);
        return FK_ERR_VERIFY;
    }
    return FK_OK;
}
