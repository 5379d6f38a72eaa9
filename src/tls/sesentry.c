/* Sessions outside of this host: see sesentry.h. */
#include "tls/sesentry.h"

#include "base/err.h"
#include "base/reader.h"
#include "base/secret.h"

#include <string.h>

#define VERSION 1
#define HEAD    (1 + 8 + 12)

/* The associated data; the cache of this host (sescache.h) seals with another one. */
struct aad {
    char label[20];
    uint8_t id[FK_SESSTORE_ID];
    uint8_t owner[32];
};

_Static_assert(sizeof(struct aad) == 84, "no padding");

static struct aad aad_of(const uint8_t *id, const uint8_t *owner)
{
    struct aad aad = {.label = "farkey session store"};

    memcpy(aad.id, id, sizeof aad.id);
    memcpy(aad.owner, owner, sizeof aad.owner);
    return aad;
}

int fk_sesentry_seal(struct fk_ticket_site *site, const uint8_t owner[32],
                     const SSL_SESSION *session, uint8_t ret[FK_SESENTRY_MAX], size_t *ret_len)
{
    SSL_SESSION *unchanged = (SSL_SESSION *)(uintptr_t)session; /* i2d has no const here */
    struct fk_ticket_box box = {
        .key = ret + 1, .nonce = ret + 9, .data = ret + HEAD, .aad_len = sizeof(struct aad)};
    int len = i2d_SSL_SESSION(unchanged, NULL);
    uint8_t *out = box.data;
    const uint8_t *id;
    struct aad aad;
    unsigned id_len;
    int err;

    id = SSL_SESSION_get_id(session, &id_len);
    if (id_len != FK_SESSTORE_ID || len <= 0 ||
        (size_t)len > FK_SESENTRY_MAX - HEAD - FK_TICKET_BOX_TAG)
        return FK_ERR_LIMIT;
    aad = aad_of(id, owner);
    (void)i2d_SSL_SESSION(unchanged, &out);
    ret[0] = VERSION;
    box.aad = &aad;
    box.len = (size_t)len;
    if ((err = fk_ticket_site_lock(site, &box)) != FK_OK) {
        fk_wipe(ret, FK_SESENTRY_MAX);
        return err;
    }
    *ret_len = HEAD + box.len + FK_TICKET_BOX_TAG;
    return FK_OK;
}

/* What an entry is made of, copied: it is opened in place. */
struct parts {
    uint8_t version;
    uint8_t key[8], nonce[12];
    size_t len; /* of `sealed`, with the tag */
    uint8_t sealed[FK_SESENTRY_MAX];
};

static int parse(const void *data, size_t len, struct parts *ret)
{
    struct fk_reader in;
    int err;

    fk_reader_init(&in, data, len);
    if ((err = fk_reader_u8(&in, &ret->version)) != FK_OK)
        return err;
    if (ret->version != VERSION)
        return FK_ERR_VERSION;
    if ((err = fk_reader_copy(&in, ret->key, sizeof ret->key)) != FK_OK ||
        (err = fk_reader_copy(&in, ret->nonce, sizeof ret->nonce)) != FK_OK)
        return err;
    if (in.left <= FK_TICKET_BOX_TAG)
        return FK_ERR_TRUNCATED;
    if (in.left > sizeof ret->sealed)
        return FK_ERR_LIMIT;
    ret->len = in.left;
    return fk_reader_copy(&in, ret->sealed, ret->len);
}

/* Only what this site has sealed gets to OpenSSL's decoder. */
static int open_parts(struct fk_ticket_site *site, const struct aad *aad, struct parts *parts,
                      SSL_SESSION **ret)
{
    const struct fk_ticket_box box = {.key = parts->key,
                                      .nonce = parts->nonce,
                                      .data = parts->sealed,
                                      .len = parts->len - FK_TICKET_BOX_TAG,
                                      .aad = aad,
                                      .aad_len = sizeof *aad};
    const unsigned char *in = parts->sealed;
    SSL_SESSION *session;
    int err = fk_ticket_site_unlock(site, &box);

    if (err != FK_OK)
        return err;
    if ((session = d2i_SSL_SESSION(NULL, &in, (long)box.len)) == NULL)
        return FK_ERR_FORMAT;
    *ret = session;
    return FK_OK;
}

int fk_sesentry_open(struct fk_ticket_site *site, const struct fk_sesentry_bound *bound,
                     const void *data, size_t len, SSL_SESSION **ret)
{
    const struct aad aad = aad_of(bound->id, bound->owner);
    struct parts parts;
    int err = parse(data, len, &parts);

    if (err == FK_OK)
        err = open_parts(site, &aad, &parts, ret);
    fk_wipe(&parts, sizeof parts);
    return err;
}
