/* Ticket keys and the ticket callback's work: see tickets.h. */
#include "tls/tickets.h"

#include "base/err.h"
#include "base/list.h"
#include "base/reader.h"
#include "base/secret.h"
#include "base/writer.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

/* What a site derives from one key. */
struct derived {
    uint8_t name[16];
    uint8_t aes[32];
    uint8_t mac[32];
    uint8_t box[32];
};

_Static_assert(sizeof(struct derived) == 112, "derived in one piece");

/* Room for the derived keys of some sites in one secret. Lives while a site has a place in it. */
struct slab {
    struct fk_list link;
    struct fk_secret *secret; /* struct derived [FK_EDGE_TICKET_SLAB][FK_EDGE_TICKET_KEYS] */
    uint64_t used;            /* bit i: place i is a site's */
};

#define PLACE_SIZE (FK_EDGE_TICKET_KEYS * sizeof(struct derived))
#define ALL_PLACES (UINT64_MAX >> (64 - FK_EDGE_TICKET_SLAB))

struct fk_tickets {
    OSSL_LIB_CTX *libctx;
    EVP_CIPHER *cipher;
    EVP_CIPHER *aead;
    EVP_CIPHER_CTX *box; /* one for all, used within a call */
    EVP_KDF *kdf;
    struct fk_secret *secret; /* struct fk_ticket_keys */
    uint64_t generation;      /* counts changes */
    struct fk_list slabs;
};

struct fk_ticket_site {
    struct fk_tickets *tickets;
    const struct fk_tickets *source; /* whose keys; NULL: nobody's */
    uint64_t generation;             /* of the keys that `keys` were derived from */
    size_t count;
    struct slab *slab;
    struct derived *keys; /* FK_EDGE_TICKET_KEYS, in the slab */
    char name[];          /* the site's */
};

/* --- master --- */

static int add_key(struct fk_ticket_keys *keys, uint64_t now_us)
{
    struct fk_ticket_key key = {.made_us = now_us};

    if (RAND_bytes(key.id, sizeof key.id) != 1 ||
        RAND_priv_bytes(key.secret, sizeof key.secret) != 1)
        return FK_ERR_CRYPTO;
    memmove(&keys->keys[1], &keys->keys[0], sizeof key * (FK_EDGE_TICKET_KEYS - 1));
    keys->keys[0] = key;
    if (keys->count < FK_EDGE_TICKET_KEYS)
        keys->count++;
    fk_wipe(&key, sizeof key);
    return FK_OK;
}

/* Whether there were keys older than `life_us`. */
static bool drop_old(struct fk_ticket_keys *keys, uint64_t life_us, uint64_t now_us)
{
    size_t before = keys->count;

    while (keys->count > 1 && now_us - keys->keys[keys->count - 1].made_us >= life_us) {
        keys->count--;
        fk_wipe(&keys->keys[keys->count], sizeof keys->keys[0]);
    }
    return keys->count < before;
}

int fk_ticket_keys_rotate(struct fk_ticket_keys *keys, uint64_t life_us, uint64_t now_us,
                          bool *ret_changed, uint64_t *ret_next_us)
{
    uint64_t quarter = life_us / 4;
    bool due = keys->count == 0 || now_us - keys->keys[0].made_us >= quarter;
    int err;

    if (due && (err = add_key(keys, now_us)) != FK_OK)
        return err;
    *ret_changed = drop_old(keys, life_us, now_us) || due;
    *ret_next_us = keys->keys[0].made_us + quarter - now_us;
    return FK_OK;
}

int fk_ticket_keys_renew(struct fk_ticket_keys *keys, uint64_t life_us, uint64_t now_us,
                         uint64_t *ret_next_us)
{
    int err = add_key(keys, now_us);

    if (err != FK_OK)
        return err;
    (void)drop_old(keys, life_us, now_us);
    *ret_next_us = life_us / 4;
    return FK_OK;
}

/* HKDF-SHA256 (RFC 5869), without a salt: the secret is uniform. */
static int derive_shared(EVP_KDF *kdf, const uint8_t *secret, uint64_t number,
                         struct fk_ticket_key *ret)
{
    static const char label[] = "farkey shared ticket key 1";
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
    uint8_t info[sizeof label + 8], out[sizeof ret->id + sizeof ret->secret];
    struct fk_writer writer;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)secret,
                                          FK_TICKET_SHARED_SECRET),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info),
        OSSL_PARAM_construct_end(),
    };
    bool done;

    fk_writer_init(&writer, info, sizeof info);
    fk_writer_bytes(&writer, label, sizeof label);
    fk_writer_u64(&writer, number);
    done = ctx != NULL && EVP_KDF_derive(ctx, out, sizeof out, params) == 1;
    EVP_KDF_CTX_free(ctx);
    if (done) {
        memcpy(ret->id, out, sizeof ret->id);
        memcpy(ret->secret, out + sizeof ret->id, sizeof ret->secret);
    }
    fk_wipe(out, sizeof out);
    return done ? FK_OK : FK_ERR_CRYPTO;
}

int fk_ticket_keys_shared(const uint8_t secret[FK_TICKET_SHARED_SECRET], uint64_t life_us,
                          uint64_t wall_us, struct fk_ticket_keys *ret, uint64_t *ret_next_us)
{
    static const int offsets[] = {0, 1, -1, -2, -3}; /* the first one seals */
    const size_t count = sizeof offsets / sizeof offsets[0];
    const uint64_t quarter = life_us / 4, number = wall_us / quarter;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    struct fk_ticket_keys keys = {.count = count};
    int err = kdf == NULL ? FK_ERR_CRYPTO : FK_OK;

    _Static_assert(sizeof offsets / sizeof offsets[0] <= FK_EDGE_TICKET_KEYS, "room for all");
    for (size_t i = 0; err == FK_OK && i < count; i++)
        err = derive_shared(kdf, secret, number + (uint64_t)offsets[i], &keys.keys[i]);
    EVP_KDF_free(kdf);
    if (err == FK_OK) {
        *ret = keys;
        *ret_next_us = (number + 1) * quarter - wall_us;
    }
    fk_wipe(&keys, sizeof keys);
    return err;
}

size_t fk_ticket_keys_encode(const struct fk_ticket_keys *keys,
                             uint8_t ret[FK_TICKET_KEYS_WIRE_MAX])
{
    struct fk_writer out;

    fk_writer_init(&out, ret, FK_TICKET_KEYS_WIRE_MAX);
    fk_writer_u8(&out, (uint8_t)keys->count);
    for (size_t i = 0; i < keys->count; i++) {
        fk_writer_bytes(&out, keys->keys[i].id, sizeof keys->keys[i].id);
        fk_writer_bytes(&out, keys->keys[i].secret, sizeof keys->keys[i].secret);
    }
    return out.len;
}

int fk_ticket_keys_decode(const void *data, size_t len, struct fk_ticket_keys *ret)
{
    struct fk_ticket_keys keys = {0};
    struct fk_reader in;
    uint8_t count;
    int err;

    fk_reader_init(&in, data, len);
    if ((err = fk_reader_u8(&in, &count)) != FK_OK)
        return err;
    if (count == 0 || count > FK_EDGE_TICKET_KEYS)
        return FK_ERR_FORMAT;
    for (; keys.count < count; keys.count++) {
        struct fk_ticket_key *key = &keys.keys[keys.count];

        if ((err = fk_reader_copy(&in, key->id, sizeof key->id)) != FK_OK ||
            (err = fk_reader_copy(&in, key->secret, sizeof key->secret)) != FK_OK)
            goto out;
    }
    if ((err = fk_reader_end(&in)) == FK_OK)
        *ret = keys;
out:
    fk_wipe(&keys, sizeof keys);
    return err;
}

/* --- worker --- */

int fk_tickets_new(OSSL_LIB_CTX *libctx, struct fk_tickets **ret)
{
    struct fk_tickets *tickets = calloc(1, sizeof *tickets);
    int err;

    if (tickets == NULL)
        return FK_ERR_NOMEM;
    fk_list_init(&tickets->slabs);
    tickets->libctx = libctx;
    tickets->cipher = EVP_CIPHER_fetch(libctx, "AES-256-CBC", NULL);
    tickets->aead = EVP_CIPHER_fetch(libctx, "AES-256-GCM", NULL);
    tickets->box = EVP_CIPHER_CTX_new();
    tickets->kdf = EVP_KDF_fetch(libctx, OSSL_KDF_NAME_HKDF, NULL);
    err = tickets->cipher == NULL || tickets->aead == NULL || tickets->box == NULL ||
                  tickets->kdf == NULL
              ? FK_ERR_CRYPTO
              : fk_secret_new(sizeof(struct fk_ticket_keys), &tickets->secret);
    if (err != FK_OK) {
        fk_tickets_free(tickets);
        return err;
    }
    *ret = tickets;
    return FK_OK;
}

void fk_tickets_free(struct fk_tickets *tickets)
{
    if (tickets == NULL)
        return;
    fk_secret_free(tickets->secret);
    EVP_CIPHER_free(tickets->cipher);
    EVP_CIPHER_free(tickets->aead);
    EVP_CIPHER_CTX_free(tickets->box);
    EVP_KDF_free(tickets->kdf);
    free(tickets);
}

void fk_tickets_set(struct fk_tickets *tickets, const struct fk_ticket_keys *keys)
{
    memcpy(fk_secret_data(tickets->secret), keys, sizeof *keys);
    tickets->generation++;
}

/* --- places for derived keys --- */

static int make_slab(struct fk_tickets *tickets, struct slab **ret)
{
    struct slab *slab = calloc(1, sizeof *slab);
    int err;

    if (slab == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_secret_new(FK_EDGE_TICKET_SLAB * PLACE_SIZE, &slab->secret)) != FK_OK) {
        free(slab);
        return err;
    }
    fk_list_prepend(&tickets->slabs, &slab->link); /* found first by those that follow */
    *ret = slab;
    return FK_OK;
}

static struct slab *find_slab(const struct fk_tickets *tickets)
{
    struct fk_list *item;

    fk_list_each (item, &tickets->slabs) {
        struct slab *slab = fk_container(item, struct slab, link);

        if (slab->used != ALL_PLACES)
            return slab;
    }
    return NULL;
}

static int take_place(struct fk_ticket_site *site)
{
    struct slab *slab = find_slab(site->tickets);
    unsigned place;
    int err;

    if (slab == NULL && (err = make_slab(site->tickets, &slab)) != FK_OK)
        return err;
    place = (unsigned)__builtin_ctzll(~slab->used);
    slab->used |= UINT64_C(1) << place;
    site->slab = slab;
    site->keys = (struct derived *)(void *)(fk_secret_data(slab->secret) + place * PLACE_SIZE);
    return FK_OK;
}

static void give_place_back(struct fk_ticket_site *site)
{
    struct slab *slab = site->slab;
    size_t at = (size_t)((uint8_t *)site->keys - fk_secret_data(slab->secret));

    fk_wipe(site->keys, PLACE_SIZE);
    slab->used &= ~(UINT64_C(1) << at / PLACE_SIZE);
    if (slab->used != 0)
        return;
    fk_list_del(&slab->link);
    fk_secret_free(slab->secret);
    free(slab);
}

/* --- a site --- */

int fk_ticket_site_new(struct fk_tickets *tickets, const char *name, struct fk_ticket_site **ret)
{
    size_t len = strlen(name) + 1;
    struct fk_ticket_site *site = calloc(1, sizeof *site + len);
    int err;

    if (site == NULL)
        return FK_ERR_NOMEM;
    site->tickets = tickets;
    site->source = tickets;
    memcpy(site->name, name, len);
    if ((err = take_place(site)) != FK_OK) {
        free(site);
        return err;
    }
    *ret = site;
    return FK_OK;
}

void fk_ticket_site_free(struct fk_ticket_site *site)
{
    if (site == NULL)
        return;
    give_place_back(site);
    free(site);
}

size_t fk_ticket_site_count(const struct fk_ticket_site *site)
{
    const struct fk_tickets *source = site->source;

    return source == NULL
               ? 0
               : ((const struct fk_ticket_keys *)(const void *)fk_secret_bytes(source->secret))
                     ->count;
}

void fk_ticket_site_follow(struct fk_ticket_site *site, const struct fk_tickets *source)
{
    if (site->source == source)
        return;
    fk_wipe(site->keys, PLACE_SIZE);
    site->count = 0;
    site->source = source;
    site->generation = UINT64_MAX; /* none is */
}

/* HKDF-SHA256 (RFC 5869): salt is the key's id, info says what for and for which site. */
static int derive_one(const struct fk_ticket_site *site, const struct fk_ticket_key *key,
                      struct derived *ret)
{
    static char label[] = "farkey ticket";
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(site->tickets->kdf);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key->secret,
                                          sizeof key->secret),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)key->id,
                                          sizeof key->id),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, label, sizeof label),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)site->name,
                                          strlen(site->name)),
        OSSL_PARAM_construct_end(),
    };
    int ok = ctx != NULL && EVP_KDF_derive(ctx, (uint8_t *)ret, sizeof *ret, params) == 1;

    EVP_KDF_CTX_free(ctx);
    return ok ? FK_OK : FK_ERR_CRYPTO;
}

/* Follow the process's keys when they have changed. */
static int derive(struct fk_ticket_site *site)
{
    const struct fk_ticket_keys *keys;
    int err;

    if (site->source == NULL || site->generation == site->source->generation)
        return FK_OK;
    keys = (const void *)fk_secret_bytes(site->source->secret);
    site->count = 0;
    for (size_t i = 0; i < keys->count; i++)
        if ((err = derive_one(site, &keys->keys[i], &site->keys[i])) != FK_OK)
            return err;
    fk_wipe(&site->keys[keys->count], sizeof site->keys[0] * (FK_EDGE_TICKET_KEYS - keys->count));
    site->count = keys->count;
    site->generation = site->source->generation;
    return FK_OK;
}

static int set_mac(EVP_MAC_CTX *mac, const uint8_t key[32])
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key, 32),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_MAC_CTX_set_params(mac, params);
}

int fk_ticket_site_seal(struct fk_ticket_site *site, uint8_t name[16], uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    const struct derived *key = &site->keys[0];

    if (derive(site) != FK_OK)
        return -1;
    if (site->count == 0)
        return 0;
    memcpy(name, key->name, sizeof key->name);
    if (RAND_bytes_ex(site->tickets->libctx, iv, 16, 0) != 1 ||
        EVP_EncryptInit_ex(cipher, site->tickets->cipher, NULL, key->aes, iv) != 1 ||
        set_mac(mac, key->mac) != 1)
        return -1;
    return 1;
}

int fk_ticket_site_open(struct fk_ticket_site *site, const uint8_t name[16], const uint8_t *iv,
                        EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    if (derive(site) != FK_OK)
        return -1;
    for (size_t i = 0; i < site->count; i++) {
        const struct derived *key = &site->keys[i];

        if (!fk_equal_ct(name, key->name, sizeof key->name))
            continue;
        if (EVP_DecryptInit_ex(cipher, site->tickets->cipher, NULL, key->aes, iv) != 1 ||
            set_mac(mac, key->mac) != 1)
            return -1;
        return i == 0 ? 1 : 2;
    }
    return 0;
}

/* --- tickets with keys of their own --- */

int fk_ticket_site_seal_single(const struct fk_ticket_site *site,
                               const struct fk_ticket_single *single, uint8_t name[16], uint8_t *iv,
                               EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    OSSL_LIB_CTX *libctx = site->tickets->libctx;
    struct fk_ticket_single nobodys;
    bool done;

    if (single == NULL) {
        if (RAND_priv_bytes_ex(libctx, (uint8_t *)&nobodys, sizeof nobodys, 0) != 1)
            return -1;
        single = &nobodys;
    }
    memcpy(name, single->name, sizeof single->name);
    done = RAND_bytes_ex(libctx, iv, 16, 0) == 1 &&
           EVP_EncryptInit_ex(cipher, site->tickets->cipher, NULL, single->aes, iv) == 1 &&
           set_mac(mac, single->mac) == 1;
    fk_wipe(&nobodys, sizeof nobodys);
    return done ? 1 : -1;
}

int fk_ticket_site_open_single(const struct fk_ticket_site *site,
                               const struct fk_ticket_opened *opened, const uint8_t *iv,
                               EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    return EVP_DecryptInit_ex(cipher, site->tickets->cipher, NULL, opened->aes, iv) == 1 &&
                   set_mac(mac, opened->mac) == 1
               ? 1
               : -1;
}

/* --- boxes --- */

static bool run_box(const struct fk_ticket_site *site, const struct derived *key,
                    const struct fk_ticket_box *box, int seal)
{
    EVP_CIPHER_CTX *ctx = site->tickets->box;
    uint8_t *tag = box->data + box->len;
    int n;

    return EVP_CipherInit_ex(ctx, site->tickets->aead, NULL, key->box, box->nonce, seal) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, box->aad, (int)box->aad_len) == 1 &&
           EVP_CipherUpdate(ctx, box->data, &n, box->data, (int)box->len) == 1 &&
           (seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, FK_TICKET_BOX_TAG, tag) == 1) &&
           EVP_CipherFinal_ex(ctx, tag, &n) == 1 &&
           (!seal || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, FK_TICKET_BOX_TAG, tag) == 1);
}

int fk_ticket_site_lock(struct fk_ticket_site *site, const struct fk_ticket_box *box)
{
    bool done;

    if (derive(site) != FK_OK)
        return FK_ERR_CRYPTO;
    if (site->count == 0)
        return FK_ERR_NOT_FOUND;
    memcpy(box->key, site->keys[0].name, 8);
    done = RAND_bytes_ex(site->tickets->libctx, box->nonce, 12, 0) == 1 &&
           run_box(site, &site->keys[0], box, 1);
    EVP_CIPHER_CTX_reset(site->tickets->box);
    return done ? FK_OK : FK_ERR_CRYPTO;
}

int fk_ticket_site_unlock(struct fk_ticket_site *site, const struct fk_ticket_box *box)
{
    bool done;

    if (derive(site) != FK_OK)
        return FK_ERR_CRYPTO;
    for (size_t i = 0; i < site->count; i++) {
        if (!fk_equal_ct(box->key, site->keys[i].name, 8))
            continue;
        done = run_box(site, &site->keys[i], box, 0);
        EVP_CIPHER_CTX_reset(site->tickets->box);
        return done ? FK_OK : FK_ERR_CRYPTO;
    }
    return FK_ERR_NOT_FOUND;
}
