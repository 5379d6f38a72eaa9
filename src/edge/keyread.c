/* The process that reads private keys: see keyread.h. */
#include "edge/keyread.h"

#include "base/err.h"
#include "base/map.h"
#include "base/secret.h"
#include "loop/errand.h"
#include "loop/sock.h"
#include "signer/keyset.h"
#include "signer/lend.h"
#include "signer/share.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* Messages from the reading process: one for each file, then the bundle. */
enum { MSG_KEY = 1, MSG_BUNDLE };

#define FINGERPRINT_SIZE sizeof(((struct fk_keyread *)0)->fingerprint)

/* A key, with what all sites that use it ask of it. */
struct key {
    struct key *next;
    struct fk_key_public public;
    EVP_PKEY *pkey; /* one of the two */
    struct fk_secret *share;
};

struct keys {
    struct key *last;
    struct fk_map skis;
    bool has_lend_key;
    uint8_t lend_key[FK_LEND_KEY];
};

size_t fk_keyread_count(const struct fk_edge_site *site)
{
    return site->key.count + site->share.count;
}

/* --- the reading process --- */

static uint16_t permissions(const struct fk_edge_site *site)
{
    return (uint16_t)(FK_PERM_SIGN13 | FK_PERM_SIGN12 |
                      (site->rsa_key_exchange ? FK_PERM_DECRYPT : 0));
}

/* What is done with a split key is for the key server to judge. */
#define SHARE_PERMISSIONS UINT16_MAX

static bool is_same_share(const struct fk_secret *a, const struct fk_secret *b)
{
    return fk_secret_len(a) == fk_secret_len(b) &&
           fk_equal_ct(fk_secret_bytes(a), fk_secret_bytes(b), fk_secret_len(a));
}

/* The same key, or share, may serve several sites: it is kept once. A key is here whole or in one
 * share: two of them would be the whole key. */
static int keep_again(struct key *key, const struct fk_edge_site *site,
                      const struct fk_secret *share)
{
    if ((key->share == NULL) != (share == NULL) ||
        (share != NULL && !is_same_share(key->share, share)))
        return FK_ERR_DUPLICATE;
    key->public.permissions |= share != NULL ? SHARE_PERMISSIONS : permissions(site);
    return FK_OK;
}

static void free_parts(EVP_PKEY *pkey, struct fk_secret *share)
{
    EVP_PKEY_free(pkey);
    fk_secret_free(share);
}

/* Takes `pkey` and `share`; one of them is NULL. */
static int keep(struct keys *keys, const struct fk_edge_site *site,
                const struct fk_key_public *public, EVP_PKEY *pkey, struct fk_secret *share)
{
    struct key *key = fk_map_find(&keys->skis, public->ski, sizeof public->ski);
    int err;

    if (key != NULL || (key = calloc(1, sizeof *key)) == NULL) {
        err = key == NULL ? FK_ERR_NOMEM : keep_again(key, site, share);
        free_parts(pkey, share);
        return err;
    }
    key->public = *public;
    key->public.permissions = share != NULL ? SHARE_PERMISSIONS : permissions(site);
    snprintf(key->public.name, sizeof key->public.name, "%s", site->block.title);
    key->pkey = pkey;
    key->share = share;
    key->next = keys->last;
    keys->last = key;
    return fk_map_add(&keys->skis, key->public.ski, sizeof key->public.ski, key, NULL);
}

static int read_file(struct fk_bundle *bundle, const struct fk_edge_site *site, const char *path,
                     struct keys *keys, uint8_t ret_ski[20])
{
    struct fk_key_public public = {0};
    EVP_PKEY *pkey;
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read_secret(bundle, path, &data, &len)) != FK_OK ||
        (err = fk_key_parse(data, len, NULL, &pkey)) != FK_OK)
        return err;
    if ((err = fk_key_describe(pkey, &public)) != FK_OK) {
        EVP_PKEY_free(pkey);
        return err;
    }
    memcpy(ret_ski, public.ski, sizeof public.ski);
    return keep(keys, site, &public, pkey, NULL);
}

/* The public key that a share is of; FK_ERR_UNSUPPORTED: share 1, which is the key server's. */
static int describe_share(const struct fk_secret *bytes, struct fk_key_public *ret)
{
    struct fk_reader reader;
    struct fk_share share;
    EVP_PKEY *pkey;
    int err;

    fk_reader_init(&reader, fk_secret_bytes(bytes), fk_secret_len(bytes));
    if ((err = fk_share_decode(reader, &share)) != FK_OK)
        return err;
    if (share.index == FK_SHARE_COMBINER)
        return FK_ERR_UNSUPPORTED;
    if ((err = fk_share_public(&share, &pkey)) != FK_OK)
        return err;
    err = fk_key_describe(pkey, ret);
    EVP_PKEY_free(pkey);
    return err;
}

static int read_share(struct fk_bundle *bundle, const struct fk_edge_site *site, const char *path,
                      struct keys *keys, uint8_t ret_ski[20])
{
    struct fk_key_public public = {0};
    struct fk_secret *share;
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read_secret(bundle, path, &data, &len)) != FK_OK ||
        (err = fk_share_from_pem(data, len, &share)) != FK_OK)
        return err;
    if ((err = describe_share(share, &public)) != FK_OK) {
        fk_secret_free(share);
        return err;
    }
    memcpy(ret_ski, public.ski, sizeof public.ski);
    return keep(keys, site, &public, NULL, share);
}

static int read_lend_key(struct fk_bundle *bundle, const char *path, struct keys *keys)
{
    const uint8_t *data;
    size_t len;
    int err;

    if ((err = fk_bundle_read_secret(bundle, path, &data, &len)) != FK_OK)
        return err;
    err = fk_lend_key_parse(data, len, keys->lend_key);
    keys->has_lend_key = err == FK_OK;
    return err;
}

/* Tell what one file holds. */
static int tell(int sock, struct fk_keyread_key key)
{
    struct fk_procmsg msg = {.type = MSG_KEY, .len = sizeof key};

    memcpy(msg.data, &key, sizeof key);
    return fk_errand_say(sock, &msg);
}

/* One key is split in many ways: shares count for what they are. */
static int add_share(struct fk_keyset_builder *builder, EVP_MD_CTX *md, const struct key *key)
{
    EVP_DigestUpdate(md, fk_secret_bytes(key->share), fk_secret_len(key->share));
    return fk_keyset_builder_add_share(builder, &key->public, key->share);
}

/* The bundle, with a fingerprint of what is in it. */
static int make_bundle(const struct keys *all, EVP_MD_CTX *md, struct fk_procmsg *msg)
{
    const struct key *keys = all->last;
    struct fk_keyset_builder *builder;
    int err = fk_keyset_builder_new(&builder);

    if (err != FK_OK)
        return err;
    if (EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        err = FK_ERR_CRYPTO;
    for (; err == FK_OK && keys != NULL; keys = keys->next) {
        EVP_DigestUpdate(md, keys->public.ski, sizeof keys->public.ski);
        EVP_DigestUpdate(md, &keys->public.permissions, sizeof keys->public.permissions);
        err = keys->share != NULL ? add_share(builder, md, keys)
                                  : fk_keyset_builder_add(builder, &keys->public, keys->pkey);
    }
    if (err == FK_OK && all->has_lend_key) {
        EVP_DigestUpdate(md, all->lend_key, sizeof all->lend_key);
        fk_keyset_builder_lend_key(builder, all->lend_key);
    }
    if (err == FK_OK && EVP_DigestFinal_ex(md, msg->data, NULL) != 1)
        err = FK_ERR_CRYPTO;
    msg->len = FINGERPRINT_SIZE;
    if (err == FK_OK && (err = fk_keyset_builder_seal(builder, &msg->fds[0])) == FK_OK)
        msg->n_fds = 1;
    fk_keyset_builder_free(builder);
    return err;
}

static int send_bundle(int sock, const struct keys *keys)
{
    struct fk_procmsg msg = {.type = MSG_BUNDLE};
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int err = md == NULL ? FK_ERR_NOMEM : make_bundle(keys, md, &msg);

    EVP_MD_CTX_free(md);
    if (err == FK_OK)
        err = fk_errand_say(sock, &msg);
    fk_procmsg_close(&msg);
    return err;
}

/* All of the reading process. Its memory ends with it; what it must not do is go on. */
static int read_all(const struct fk_edge_conf *conf, int sock)
{
    struct fk_bundle *bundle;
    struct keys keys = {.last = NULL};
    bool ok = true;
    int err = fk_bundle_new(&bundle);

    for (const struct fk_conf_block *b = conf->sites; err == FK_OK && b != NULL; b = b->next) {
        const struct fk_edge_site *site = (const void *)b;

        for (size_t i = 0; err == FK_OK && i < fk_keyread_count(site); i++) {
            struct fk_keyread_key key = {0};

            if (i < site->key.count)
                key.err = read_file(bundle, site, site->key.items[i], &keys, key.ski);
            else
                key.err = read_share(bundle, site, site->share.items[i - site->key.count], &keys,
                                     key.ski);
            ok = ok && key.err == FK_OK;
            err = tell(sock, key);
        }
    }
    if (err == FK_OK && conf->lend_key != NULL) {
        struct fk_keyread_key key = {.err = read_lend_key(bundle, conf->lend_key, &keys)};

        ok = ok && key.err == FK_OK;
        err = tell(sock, key);
    }
    if (err != FK_OK || !ok)
        return err;
    return send_bundle(sock, &keys);
}

/* --- the master --- */

/* The errand: what it works on, and what has come back. */
struct errand {
    const struct fk_edge_conf *conf;
    struct fk_keyread *keyread;
    size_t got;
};

static int work(void *arg, int sock)
{
    const struct errand *errand = arg;

    return read_all(errand->conf, sock);
}

static void hear(void *arg, struct fk_procmsg *msg)
{
    struct errand *errand = arg;
    struct fk_keyread *keyread = errand->keyread;

    if (msg->type == MSG_KEY && errand->got < keyread->count &&
        msg->len == sizeof keyread->keys[0]) {
        memcpy(&keyread->keys[errand->got++], msg->data, sizeof keyread->keys[0]);
    } else if (msg->type == MSG_BUNDLE && msg->n_fds == 1 && keyread->fd < 0) {
        keyread->fd = msg->fds[0];
        memcpy(keyread->fingerprint, msg->data, FINGERPRINT_SIZE);
        msg->fds[0] = -1; /* moved */
    }
}

static size_t count_keys(const struct fk_edge_conf *conf)
{
    size_t count = 0;

    for (const struct fk_conf_block *b = conf->sites; b != NULL; b = b->next)
        count += fk_keyread_count((const void *)b);
    return count + (conf->lend_key != NULL ? 1 : 0);
}

static int run(const struct fk_edge_conf *conf, struct fk_keyread *keyread)
{
    struct errand errand = {.conf = conf, .keyread = keyread};
    int err = fk_errand_run(work, hear, &errand);

    if (err != FK_OK)
        return err;
    return errand.got == keyread->count ? FK_OK : FK_ERR_CLOSED;
}

int fk_keyread_new(const struct fk_edge_conf *conf, struct fk_keyread **ret)
{
    size_t count = count_keys(conf);
    struct fk_keyread *keyread = calloc(1, sizeof *keyread + count * sizeof keyread->keys[0]);
    int err;

    if (keyread == NULL)
        return FK_ERR_NOMEM;
    keyread->fd = -1;
    keyread->count = count;
    if (count > 0 && (err = run(conf, keyread)) != FK_OK) {
        fk_keyread_free(keyread);
        return err;
    }
    *ret = keyread;
    return FK_OK;
}

void fk_keyread_free(struct fk_keyread *keyread)
{
    if (keyread == NULL)
        return;
    fk_close(&keyread->fd);
    free(keyread);
}
