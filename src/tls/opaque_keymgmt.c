/*
 * Key management of ephemeral keys that a key server makes: X25519, EC, DH. A key here is a group
 * and a public value; there is no private part, but for mode `agree` with the private value handed
 * over, where the default provider has it.
 *
 * Generates nothing: it asks, outside of a handshake it refuses.
 */
#include "tls/opaque_priv.h"

#include "base/err.h"
#include "base/secret.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <string.h>
#include <strings.h>

#define SELECT_PUBLIC OSSL_KEYMGMT_SELECT_PUBLIC_KEY

enum family { FAMILY_X25519, FAMILY_EC, FAMILY_DH };

/* A group as OpenSSL calls it. */
struct fk_opaque_group {
    uint16_t id;
    enum family family;
    const char *algorithm, *name;
    int bits, security_bits; /* NIST SP 800-57 part 1, table 2; RFC 7919 appendix A */
};

static const struct fk_opaque_group groups[] = {
    {FK_AGREE_X25519, FAMILY_X25519, "X25519", "x25519", 253, 128},
    {FK_AGREE_P256, FAMILY_EC, "EC", "prime256v1", 256, 128},
    {FK_AGREE_P384, FAMILY_EC, "EC", "secp384r1", 384, 192},
    {FK_AGREE_FFDHE2048, FAMILY_DH, "DH", "ffdhe2048", 2048, 112},
    {FK_AGREE_FFDHE3072, FAMILY_DH, "DH", "ffdhe3072", 3072, 128},
    {FK_AGREE_FFDHE4096, FAMILY_DH, "DH", "ffdhe4096", 4096, 152},
};

struct fk_opaque_key {
    const struct fk_opaque_provider *provider;
    enum family family;
    const struct fk_opaque_group *group; /* NULL: not known yet */
    EVP_PKEY *numbers;                   /* DH: p and g, of the default provider */
    bool ours;                           /* its private value is the key server's, or `whole` */
    EVP_PKEY *whole;
    BIGNUM *number; /* DH: the public value once more */
    size_t public_len;
    uint8_t public_value[FK_DH_PRIME_MAX];
};

static const struct fk_opaque_group *find_group(enum family family, const char *name)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i].family == family && strcasecmp(groups[i].name, name) == 0)
            return &groups[i];
    return NULL;
}

/* --- keys of the default provider --- */

/* OSSL_PARAMs of strings and bytes are not written to. */
static char *text(const char *value)
{
    return (char *)(uintptr_t)value;
}

static EVP_PKEY *from_params(const struct fk_opaque_key *key, int selection, OSSL_PARAM *params)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(key->provider->libctx, key->group->algorithm,
                                                   "provider=default");
    EVP_PKEY *made = NULL;

    if (ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0)
        (void)EVP_PKEY_fromdata(ctx, &made, selection, params);
    EVP_PKEY_CTX_free(ctx);
    return made;
}

static EVP_PKEY *make_x25519(const struct fk_opaque_key *key, const struct fk_reader *private_value)
{
    OSSL_LIB_CTX *libctx = key->provider->libctx;

    return private_value != NULL
               ? EVP_PKEY_new_raw_private_key_ex(libctx, "X25519", "provider=default",
                                                 private_value->next, private_value->left)
               : EVP_PKEY_new_raw_public_key_ex(libctx, "X25519", "provider=default",
                                                key->public_value, key->public_len);
}

static bool push_public(const struct fk_opaque_key *key, OSSL_PARAM_BLD *bld)
{
    return key->family == FAMILY_DH
               ? OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PUB_KEY, key->number) == 1
               : OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, key->public_value,
                                                  key->public_len) == 1;
}

/* EC and DH: with its public value, and the private one if there is one. */
static EVP_PKEY *make_in_group(const struct fk_opaque_key *key, const BIGNUM *private_value)
{
    int selection = private_value != NULL ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
    OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    OSSL_PARAM *params = NULL;
    EVP_PKEY *made = NULL;

    if (bld != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, key->group->name, 0) ==
            1 &&
        push_public(key, bld) &&
        (private_value == NULL ||
         OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, private_value) == 1) &&
        (params = OSSL_PARAM_BLD_to_param(bld)) != NULL)
        made = from_params(key, selection, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(bld);
    return made;
}

static EVP_PKEY *make_key(const struct fk_opaque_key *key, const struct fk_reader *private_value)
{
    BIGNUM *number = NULL;
    EVP_PKEY *made = NULL;

    if (key->family == FAMILY_X25519)
        return make_x25519(key, private_value);
    /* A secure BIGNUM: what is made of it on the way is wiped, too. */
    if (private_value == NULL ||
        ((number = BN_secure_new()) != NULL &&
         BN_bin2bn(private_value->next, (int)private_value->left, number) != NULL))
        made = make_in_group(key, number);
    BN_clear_free(number);
    return made;
}

/* p and g of a DH group. */
static EVP_PKEY *make_numbers(const struct fk_opaque_key *key)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, text(key->group->name), 0),
        OSSL_PARAM_END};

    return from_params(key, EVP_PKEY_KEY_PARAMETERS, params);
}

/* --- keys --- */

static struct fk_opaque_key *new_key(const struct fk_opaque_provider *provider, enum family family)
{
    struct fk_opaque_key *key = OPENSSL_zalloc(sizeof *key);

    if (key != NULL) {
        key->provider = provider;
        key->family = family;
    }
    return key;
}

static void *new_x25519(void *provctx)
{
    struct fk_opaque_key *key = new_key(provctx, FAMILY_X25519);

    if (key != NULL)
        key->group = find_group(FAMILY_X25519, "x25519");
    return key;
}

static void *new_ec(void *provctx)
{
    return new_key(provctx, FAMILY_EC);
}

static void *new_dh(void *provctx)
{
    return new_key(provctx, FAMILY_DH);
}

static void free_key(void *keydata)
{
    struct fk_opaque_key *key = keydata;

    if (key == NULL)
        return;
    EVP_PKEY_free(key->whole);
    EVP_PKEY_free(key->numbers);
    BN_free(key->number);
    OPENSSL_free(key);
}

static int has(const void *keydata, int selection)
{
    const struct fk_opaque_key *key = keydata;

    if (key == NULL || key->group == NULL)
        return 0;
    if ((selection & SELECT_PUBLIC) != 0 && key->public_len == 0)
        return 0;
    return (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY) == 0 || key->ours;
}

static int match(const void *keydata1, const void *keydata2, int selection)
{
    const struct fk_opaque_key *a = keydata1, *b = keydata2;

    if (a->group != b->group)
        return 0;
    return (selection & SELECT_PUBLIC) == 0 ||
           (a->public_len == b->public_len &&
            memcmp(a->public_value, b->public_value, a->public_len) == 0); /* public */
}

/* Its group: what libssl makes the client's key of. Values stay. */
static void *dup_key(const void *keydata, int selection)
{
    const struct fk_opaque_key *from = keydata;
    struct fk_opaque_key *to;

    if ((selection & OSSL_KEYMGMT_SELECT_KEYPAIR) != 0)
        return NULL;
    if ((to = new_key(from->provider, from->family)) == NULL)
        return NULL;
    to->group = from->group;
    if (from->numbers != NULL && EVP_PKEY_up_ref(from->numbers) == 1)
        to->numbers = from->numbers;
    return to;
}

/* --- what libssl asks a key --- */

static int set_int(OSSL_PARAM params[], const char *name, int value)
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, name);

    return p == NULL || OSSL_PARAM_set_int(p, value);
}

static int get_public(const struct fk_opaque_key *key, OSSL_PARAM params[])
{
    OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY);

    if (p != NULL && (key->public_len == 0 ||
                      !OSSL_PARAM_set_octet_string(p, key->public_value, key->public_len)))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_PUB_KEY);
    if (p == NULL)
        return 1;
    if (key->public_len == 0)
        return 0;
    return key->family == FAMILY_DH
               ? OSSL_PARAM_set_BN(p, key->number)
               : OSSL_PARAM_set_octet_string(p, key->public_value, key->public_len);
}

static int get_params(void *keydata, OSSL_PARAM params[])
{
    const struct fk_opaque_key *key = keydata;
    OSSL_PARAM *p;

    if (key == NULL || key->group == NULL ||
        !set_int(params, OSSL_PKEY_PARAM_BITS, key->group->bits) ||
        !set_int(params, OSSL_PKEY_PARAM_SECURITY_BITS, key->group->security_bits) ||
        !set_int(params, OSSL_PKEY_PARAM_MAX_SIZE, (key->group->bits + 7) / 8))
        return 0;
    p = OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_GROUP_NAME);
    if (p != NULL && !OSSL_PARAM_set_utf8_string(p, key->group->name))
        return 0;
    if (key->numbers != NULL &&
        (OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_FFC_P) != NULL ||
         OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_FFC_G) != NULL) &&
        EVP_PKEY_get_params(key->numbers, params) != 1)
        return 0;
    return get_public(key, params);
}

static const OSSL_PARAM *gettable_params(void *provctx)
{
    static const OSSL_PARAM table[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0),
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_PUB_KEY, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_FFC_P, NULL, 0),
        OSSL_PARAM_BN(OSSL_PKEY_PARAM_FFC_G, NULL, 0),
        OSSL_PARAM_END};

    (void)provctx;
    return table;
}

static bool set_public(struct fk_opaque_key *key, const void *value, size_t len)
{
    if (key->family == FAMILY_DH) {
        BN_free(key->number);
        if ((key->number = BN_bin2bn(value, (int)len, NULL)) == NULL)
            return false;
    }
    memcpy(key->public_value, value, len);
    key->public_len = len;
    return true;
}

/* The client's share: into a key that has its group only. */
static int set_params(void *keydata, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY);
    struct fk_opaque_key *key = keydata;
    const void *value;
    size_t len;

    if (p == NULL)
        return 1;
    if (key->group == NULL || key->ours || !OSSL_PARAM_get_octet_string_ptr(p, &value, &len) ||
        len == 0 || len > sizeof key->public_value)
        return 0;
    return set_public(key, value, len);
}

static const OSSL_PARAM *settable_params(void *provctx)
{
    static const OSSL_PARAM table[] = {
        OSSL_PARAM_octet_string(OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, NULL, 0), OSSL_PARAM_END};

    (void)provctx;
    return table;
}

/*
 * A client's share is judged before it is sent anywhere: a point of its curve, a number of its
 * group. The groups' orders are prime, or the exchange clears the cofactor: no more is needed.
 */
static int validate(const void *keydata, int selection, int type)
{
    const struct fk_opaque_key *key = keydata;
    EVP_PKEY_CTX *ctx;
    EVP_PKEY *peer;
    int ok;

    (void)type;
    if (key->group == NULL)
        return 0;
    if ((selection & SELECT_PUBLIC) == 0)
        return 1;
    peer = fk_opaque_key_import(key);
    ctx = peer == NULL
              ? NULL
              : EVP_PKEY_CTX_new_from_pkey(key->provider->libctx, peer, "provider=default");
    ok = ctx != NULL && EVP_PKEY_public_check_quick(ctx) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return ok;
}

static const char *ec_operation_name(int operation)
{
    return operation == OSSL_OP_KEYEXCH ? "ECDH" : "EC";
}

/* --- generation --- */

struct gen {
    const struct fk_opaque_provider *provider;
    enum family family;
    bool parameters_only;
    const struct fk_opaque_group *group;
    const struct fk_opaque_key *template; /* borrowed */
};

static int gen_set_params(void *genctx, const OSSL_PARAM params[])
{
    const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_PKEY_PARAM_GROUP_NAME);
    struct gen *gen = genctx;
    const char *name;

    if (p == NULL)
        return 1;
    if (!OSSL_PARAM_get_utf8_string_ptr(p, &name))
        return 0;
    gen->group = find_group(gen->family, name);
    return gen->group != NULL;
}

static struct gen *gen_init(void *provctx, enum family family, int selection,
                            const OSSL_PARAM params[])
{
    struct gen *gen = OPENSSL_zalloc(sizeof *gen);

    if (gen == NULL)
        return NULL;
    gen->provider = provctx;
    gen->family = family;
    gen->parameters_only = (selection & OSSL_KEYMGMT_SELECT_KEYPAIR) == 0;
    gen->group = family == FAMILY_X25519 ? find_group(FAMILY_X25519, "x25519") : NULL;
    if (params != NULL && !gen_set_params(gen, params)) {
        OPENSSL_free(gen);
        return NULL;
    }
    return gen;
}

static void *gen_init_x25519(void *provctx, int selection, const OSSL_PARAM params[])
{
    return gen_init(provctx, FAMILY_X25519, selection, params);
}

static void *gen_init_ec(void *provctx, int selection, const OSSL_PARAM params[])
{
    return gen_init(provctx, FAMILY_EC, selection, params);
}

static void *gen_init_dh(void *provctx, int selection, const OSSL_PARAM params[])
{
    return gen_init(provctx, FAMILY_DH, selection, params);
}

static const OSSL_PARAM *gen_settable(void *genctx, void *provctx)
{
    static const OSSL_PARAM table[] = {OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, NULL, 0),
                                       OSSL_PARAM_END};

    (void)genctx;
    (void)provctx;
    return table;
}

static int gen_set_template(void *genctx, void *keydata)
{
    struct gen *gen = genctx;

    gen->template = keydata;
    gen->group = gen->template->group;
    return gen->group != NULL;
}

static void gen_cleanup(void *genctx)
{
    OPENSSL_free(genctx);
}

/* That the key server's p and g are the group's. */
static bool same_numbers(const struct fk_opaque_key *key, const struct fk_dh_params *numbers)
{
    BIGNUM *p = NULL, *g = NULL;
    uint8_t bytes[FK_DH_PRIME_MAX];
    bool same = EVP_PKEY_get_bn_param(key->numbers, OSSL_PKEY_PARAM_FFC_P, &p) == 1 &&
                EVP_PKEY_get_bn_param(key->numbers, OSSL_PKEY_PARAM_FFC_G, &g) == 1 &&
                (size_t)BN_num_bytes(p) == numbers->p.left && numbers->p.left <= sizeof bytes &&
                BN_bn2bin(p, bytes) > 0 &&
                memcmp(bytes, numbers->p.next, numbers->p.left) == 0 && /* public */
                (size_t)BN_num_bytes(g) == numbers->g.left && BN_bn2bin(g, bytes) > 0 &&
                memcmp(bytes, numbers->g.next, numbers->g.left) == 0; /* public */

    BN_free(p);
    BN_free(g);
    return same;
}

/* In TLS 1.3 libssl makes it in the image of the client's, which is sent along. */
static int ask(const struct fk_opaque_key *key, const struct fk_opaque_key *client,
               struct fk_opaque *opaque, struct fk_opaque_made *ret)
{
    const struct fk_agree_group *group = fk_agree_group_find(key->group->id);
    struct fk_reader share = {.left = 0};

    if (!fk_opaque_is_tls13(opaque))
        return fk_opaque_init_key(opaque, group, ret);
    if (client != NULL)
        share = fk_opaque_key_public(client);
    return fk_opaque_hello13(opaque, group, share, ret);
}

/* Ask for it. */
static int fill(struct fk_opaque_key *key, const struct fk_opaque_key *client)
{
    struct fk_opaque *opaque = fk_opaque_current();
    struct fk_opaque_made made = {.public_len = 0};
    struct fk_reader private_value;
    int err;

    if (opaque == NULL)
        return fk_rkey_raise(FK_ERR_INVAL, "no handshake to make an ephemeral key for");
    err = ask(key, client, opaque, &made);
    if (err == FK_OK && key->family == FAMILY_DH && !same_numbers(key, &made.numbers))
        err = fk_rkey_raise(FK_ERR_FORMAT, "other numbers than the group's");
    if (err == FK_OK && !set_public(key, made.public_value, made.public_len))
        err = fk_rkey_raise(FK_ERR_NOMEM, "public value");
    key->ours = err == FK_OK;
    if (err == FK_OK && made.private_len > 0) {
        fk_reader_init(&private_value, made.private_value, made.private_len);
        if ((key->whole = make_key(key, &private_value)) == NULL)
            err = fk_rkey_raise(FK_ERR_FORMAT, "private value handed over");
    }
    fk_wipe(&made, sizeof made);
    return err;
}

static void *generate(void *genctx, OSSL_CALLBACK *callback, void *arg)
{
    const struct gen *gen = genctx;
    struct fk_opaque_key *key;
    bool ok;

    (void)callback;
    (void)arg;
    if (gen->group == NULL || (key = new_key(gen->provider, gen->family)) == NULL)
        return NULL;
    key->group = gen->group;
    if (gen->template != NULL && gen->template->numbers != NULL) {
        if (EVP_PKEY_up_ref(gen->template->numbers) == 1)
            key->numbers = gen->template->numbers;
    } else if (key->family == FAMILY_DH) {
        key->numbers = make_numbers(key);
    }
    ok = (key->family != FAMILY_DH || key->numbers != NULL) &&
         (gen->parameters_only || fill(key, gen->template) == FK_OK);
    if (ok)
        return key;
    free_key(key);
    return NULL;
}

/* --- for the other files --- */

const struct fk_opaque_provider *fk_opaque_key_provider(const struct fk_opaque_key *key)
{
    return key->provider;
}

const struct fk_agree_group *fk_opaque_key_group(const struct fk_opaque_key *key)
{
    return key->group == NULL ? NULL : fk_agree_group_find(key->group->id);
}

EVP_PKEY *fk_opaque_key_whole(const struct fk_opaque_key *key)
{
    return key->whole;
}

struct fk_reader fk_opaque_key_public(const struct fk_opaque_key *key)
{
    struct fk_reader value;

    fk_reader_init(&value, key->public_value, key->public_len);
    return value;
}

EVP_PKEY *fk_opaque_key_import(const struct fk_opaque_key *key)
{
    return key->group == NULL || key->public_len == 0 ? NULL : make_key(key, NULL);
}

int fk_opaque_dh_params(OSSL_LIB_CTX *libctx, uint16_t group, EVP_PKEY **ret)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(libctx, "DH", FK_OPAQUE_PROPERTY);
    const char *name = NULL;
    EVP_PKEY *key = NULL;
    int err = FK_ERR_CRYPTO;

    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i].family == FAMILY_DH && groups[i].id == group)
            name = groups[i].name;
    if (name == NULL)
        err = FK_ERR_UNSUPPORTED;
    else if (ctx != NULL && EVP_PKEY_paramgen_init(ctx) > 0 &&
             EVP_PKEY_CTX_set_group_name(ctx, name) > 0 && EVP_PKEY_paramgen(ctx, &key) > 0)
        err = FK_OK;
    EVP_PKEY_CTX_free(ctx);
    if (err == FK_OK)
        *ret = key;
    return err;
}

#define KEYMGMT_COMMON(new_fn, gen_init_fn)                                     \
    {OSSL_FUNC_KEYMGMT_NEW, (void (*)(void))(new_fn)},                          \
        {OSSL_FUNC_KEYMGMT_FREE, (void (*)(void))free_key},                     \
        {OSSL_FUNC_KEYMGMT_HAS, (void (*)(void))has},                           \
        {OSSL_FUNC_KEYMGMT_MATCH, (void (*)(void))match},                       \
        {OSSL_FUNC_KEYMGMT_DUP, (void (*)(void))dup_key},                       \
        {OSSL_FUNC_KEYMGMT_VALIDATE, (void (*)(void))validate},                 \
        {OSSL_FUNC_KEYMGMT_GET_PARAMS, (void (*)(void))get_params},             \
        {OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, (void (*)(void))gettable_params},   \
        {OSSL_FUNC_KEYMGMT_SET_PARAMS, (void (*)(void))set_params},             \
        {OSSL_FUNC_KEYMGMT_SETTABLE_PARAMS, (void (*)(void))settable_params},   \
        {OSSL_FUNC_KEYMGMT_GEN_INIT, (void (*)(void))(gen_init_fn)},            \
        {OSSL_FUNC_KEYMGMT_GEN_SET_TEMPLATE, (void (*)(void))gen_set_template}, \
        {OSSL_FUNC_KEYMGMT_GEN_SET_PARAMS, (void (*)(void))gen_set_params},     \
        {OSSL_FUNC_KEYMGMT_GEN_SETTABLE_PARAMS, (void (*)(void))gen_settable},  \
        {OSSL_FUNC_KEYMGMT_GEN, (void (*)(void))generate},                      \
    {                                                                           \
        OSSL_FUNC_KEYMGMT_GEN_CLEANUP, (void (*)(void))gen_cleanup              \
    }

const OSSL_DISPATCH fk_opaque_keymgmt_x25519[] = {KEYMGMT_COMMON(new_x25519, gen_init_x25519),
                                                  {0, NULL}};
const OSSL_DISPATCH fk_opaque_keymgmt_ec[] = {
    KEYMGMT_COMMON(new_ec, gen_init_ec),
    {OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, (void (*)(void))ec_operation_name},
    {0, NULL}};
const OSSL_DISPATCH fk_opaque_keymgmt_dh[] = {KEYMGMT_COMMON(new_dh, gen_init_dh), {0, NULL}};
