/* signer/ops: what a signer does, for whom, with which key; what it refuses and with which error.
 */
#include "unit.h"

#include "base/limits.h"
#include "unit_keys.h"

#include "base/text.h"
#include "base/writer.h"
#include "signer/audit_keys.h"
#include "signer/ops.h"
#include "wire/keymsg.h"
#include "wire/keyop.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <unistd.h>

enum { K_RSA, P256, P384, P521, ED, KEYS };

static const char *const kinds[KEYS] = {"rsa2048", "P-256", "P-384", "P-521", "ed25519"};
static const uint8_t audit_secret[32] = "the audit secret, 32 bytes long";

static EVP_PKEY *keys[KEYS];
static uint8_t skis[KEYS][20];

/* Keys are made once; each case loads them with the permissions that it is about. */
static EVP_PKEY *test_key(int which)
{
    if (keys[which] == NULL)
        keys[which] = unit_key(kinds[which]);
    return keys[which];
}

struct bench {
    struct fk_keyset *set;
    struct fk_ops *ops;
    uint8_t ret[FK_SIGNER_RESULT_MAX];
    size_t len;
};

static void open_bench(struct bench *bench, unsigned permissions)
{
    struct fk_keyset_builder *builder;
    int fd;

    assert_ok(fk_keyset_builder_new(&builder));
    for (int k = 0; k < KEYS; k++)
        unit_bundle_add(builder, kinds[k], test_key(k), (uint16_t)permissions, skis[k]);
    assert_ok(fk_keyset_builder_audit(builder, audit_secret));
    assert_ok(fk_keyset_builder_seal(builder, &fd));
    fk_keyset_builder_free(builder);
    assert_ok(fk_keyset_open(fd, &bench->set));
    close(fd);
    assert_ok(fk_ops_new(bench->set, 0, 1, &bench->ops));
}

static void close_bench(struct bench *bench)
{
    fk_ops_free(bench->ops);
    fk_keyset_free(bench->set);
    assert_int_equal(ERR_peek_error(), 0);
}

static int run(struct bench *bench, int key, uint16_t op, uint16_t detail, const void *payload,
               size_t len)
{
    struct fk_signer_request request = {.len = (uint32_t)len, .op = op, .detail = detail};
    uint8_t *copy = malloc(len + 1); /* its own block: a sanitizer sees a read past the end */
    int err;

    memcpy(request.ski, skis[key], 20);
    if (len > 0)
        memcpy(copy, payload, len);
    bench->len = 0;
    err = fk_ops_run(bench->ops, &request, copy, bench->ret, &bench->len);
    free(copy);
    return err;
}

/* --- signatures --- */

static EVP_PKEY_CTX *set_rsa(EVP_PKEY_CTX *ctx, bool pss)
{
    if (pss) {
        assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING), 1);
        assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST), 1);
    }
    return ctx;
}

static bool verifies(int key, const char *md, bool pss, const void *tbs, size_t len,
                     const struct bench *bench)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx;
    bool ok;

    assert_int_equal(EVP_DigestVerifyInit_ex(ctx, &pctx, md, NULL, NULL, keys[key], NULL), 1);
    set_rsa(pctx, pss);
    ok = EVP_DigestVerify(ctx, bench->ret, bench->len, tbs, len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

struct scheme {
    uint16_t id;
    const char *md; /* NULL: Ed25519 */
    bool pss;
    unsigned keys13; /* bit k: in TLS 1.3 this key fits */
    unsigned keys12;
};

#define ECS (1U << P256 | 1U << P384 | 1U << P521)

static const struct scheme schemes[] = {
    {0x0403, "SHA256", false, 1U << P256, ECS},
    {0x0503, "SHA384", false, 1U << P384, ECS},
    {0x0603, "SHA512", false, 1U << P521, ECS},
    {0x0804, "SHA256", true, 1U << K_RSA, 1U << K_RSA},
    {0x0805, "SHA384", true, 1U << K_RSA, 1U << K_RSA},
    {0x0806, "SHA512", true, 1U << K_RSA, 1U << K_RSA},
    {0x0807, NULL, false, 1U << ED, 1U << ED},
    {0x0401, "SHA256", false, 0, 1U << K_RSA},
    {0x0501, "SHA384", false, 0, 1U << K_RSA},
    {0x0601, "SHA512", false, 0, 1U << K_RSA},
    {0x0201, "SHA1", false, 0, 0},
    {0x0203, "SHA1", false, 0, 0},
    {0x0809, "SHA256", true, 0, 0}, /* rsa_pss_pss: no such keys here */
};
#define N_SCHEMES (sizeof schemes / sizeof schemes[0])

static size_t payload13(uint16_t scheme, enum fk_key_role role, size_t hash_len, uint8_t dst[256])
{
    struct fk_sign13 op = {.scheme = scheme, .role = role, .hash_len = (uint8_t)hash_len};
    struct fk_writer writer;

    memset(op.hash, 0x5a, sizeof op.hash);
    fk_writer_init(&writer, dst, 256);
    fk_sign13_encode(&op, &writer);
    assert_int_equal(writer.err, 0);
    return writer.len;
}

/* What RFC 8446 section 4.4.3 says is signed, written here by hand. */
static size_t tbs13(enum fk_key_role role, size_t hash_len, uint8_t dst[256])
{
    const char *context = role == FK_ROLE_SERVER ? "TLS 1.3, server CertificateVerify"
                                                 : "TLS 1.3, client CertificateVerify";

    memset(dst, 0x20, 64);
    memcpy(dst + 64, context, 34); /* its NUL included */
    memset(dst + 98, 0x5a, hash_len);
    return 98 + hash_len;
}

static void sign13_with_every_key_and_scheme(void **state)
{
    struct bench bench;
    uint8_t payload[256], tbs[256];

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (size_t s = 0; s < N_SCHEMES; s++)
        for (int k = 0; k < KEYS; k++)
            for (enum fk_key_role role = FK_ROLE_SERVER; role <= FK_ROLE_CLIENT; role++)
                for (size_t hash = 32; hash <= 48; hash += 16) {
                    size_t len = payload13(schemes[s].id, role, hash, payload);
                    int err = run(&bench, k, FK_SIGNER_SIGN13, 0, payload, len);

                    if ((schemes[s].keys13 & 1U << k) == 0) {
                        assert_err(err, FK_ERR_UNSUPPORTED);
                        continue;
                    }
                    assert_ok(err);
                    len = tbs13(role, hash, tbs);
                    assert_true(verifies(k, schemes[s].md, schemes[s].pss, tbs, len, &bench));
                }
    close_bench(&bench);
}

static void sign13_payload_is_read_whole(void **state)
{
    struct bench bench;
    uint8_t payload[257];
    size_t len;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    len = payload13(0x0403, FK_ROLE_SERVER, 32, payload);
    for (size_t i = 0; i < len; i++)
        assert_err(run(&bench, P256, FK_SIGNER_SIGN13, 0, payload, i), FK_ERR_TRUNCATED);
    payload[len] = 0;
    assert_err(run(&bench, P256, FK_SIGNER_SIGN13, 0, payload, len + 1), FK_ERR_TRAILING);
    close_bench(&bench);
}

/* --- TLS 1.2 --- */

static size_t payload12(uint16_t scheme, enum fk_kx kx, const uint8_t *params, size_t params_len,
                        uint8_t dst[FK_SIGNER_PAYLOAD_MAX])
{
    struct fk_sign12 op = {.scheme = scheme, .kx = kx};
    struct fk_writer writer;

    memset(op.client_random, 'c', 32);
    memset(op.server_random, 's', 32);
    fk_reader_init(&op.params, params, params_len);
    fk_writer_init(&writer, dst, FK_SIGNER_PAYLOAD_MAX);
    fk_sign12_encode(&op, &writer);
    assert_int_equal(writer.err, 0);
    return writer.len;
}

/* ServerECDHParams of a fresh share. */
static size_t ecdh_params(uint16_t group, const char *kind, uint8_t dst[256])
{
    EVP_PKEY *key = kind[0] == 'X' ? EVP_PKEY_Q_keygen(NULL, NULL, kind) : EVP_EC_gen(kind);
    unsigned char *point;
    size_t len = EVP_PKEY_get1_encoded_public_key(key, &point);

    assert_true(len > 0 && len < 250);
    dst[0] = 3;
    dst[1] = (uint8_t)(group >> 8);
    dst[2] = (uint8_t)group;
    dst[3] = (uint8_t)len;
    memcpy(dst + 4, point, len);
    OPENSSL_free(point);
    EVP_PKEY_free(key);
    return 4 + len;
}

static void sign12_with_every_key_and_scheme(void **state)
{
    uint8_t params[256], payload[FK_SIGNER_PAYLOAD_MAX], tbs[64 + 256];
    size_t params_len = ecdh_params(29, "X25519", params);
    struct bench bench;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    memset(tbs, 'c', 32);
    memset(tbs + 32, 's', 32);
    memcpy(tbs + 64, params, params_len);
    for (size_t s = 0; s < N_SCHEMES; s++)
        for (int k = 0; k < KEYS; k++) {
            size_t len = payload12(schemes[s].id, FK_KX_ECDHE, params, params_len, payload);
            int err = run(&bench, k, FK_SIGNER_SIGN12, 0, payload, len);

            if ((schemes[s].keys12 & 1U << k) == 0) {
                assert_err(err, FK_ERR_UNSUPPORTED);
                continue;
            }
            assert_ok(err);
            assert_true(verifies(k, schemes[s].md, schemes[s].pss, tbs, 64 + params_len, &bench));
        }
    close_bench(&bench);
}

static void sign12_accepts_shares_of_allowed_groups(void **state)
{
    static const struct {
        uint16_t id;
        const char *kind;
    } groups[] = {{23, "P-256"}, {24, "P-384"}, {25, "P-521"}, {29, "X25519"}, {30, "X448"}};
    uint8_t params[256], payload[FK_SIGNER_PAYLOAD_MAX];
    struct bench bench;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        size_t n = ecdh_params(groups[i].id, groups[i].kind, params);
        size_t len = payload12(0x0403, FK_KX_ECDHE, params, n, payload);

        assert_ok(run(&bench, P256, FK_SIGNER_SIGN12, 0, payload, len));
        memset(params + 4, 0, n - 4); /* no point, or not one of a server's */
        len = payload12(0x0403, FK_KX_ECDHE, params, n, payload);
        assert_int_not_equal(run(&bench, P256, FK_SIGNER_SIGN12, 0, payload, len), FK_OK);
    }
    close_bench(&bench);
}

static void sign12_refuses_points_off_the_curve(void **state)
{
    static const struct {
        uint16_t id;
        const char *kind;
    } groups[] = {{23, "P-256"}, {24, "P-384"}, {25, "P-521"}};
    uint8_t params[256], payload[FK_SIGNER_PAYLOAD_MAX];
    struct bench bench;
    size_t n, len;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        n = ecdh_params(groups[i].id, groups[i].kind, params);
        params[n - 1] ^= 1;
        len = payload12(0x0804, FK_KX_ECDHE, params, n, payload);
        assert_err(run(&bench, K_RSA, FK_SIGNER_SIGN12, 0, payload, len), FK_ERR_RANGE);
        params[n - 1] ^= 1;
        params[4] = 6; /* hybrid form */
        len = payload12(0x0804, FK_KX_ECDHE, params, n, payload);
        assert_err(run(&bench, K_RSA, FK_SIGNER_SIGN12, 0, payload, len), FK_ERR_FORMAT);
    }
    memset(params + 4, 0, 32); /* all-zero X25519 share */
    n = ecdh_params(29, "X25519", params);
    memset(params + 4, 0, 32);
    len = payload12(0x0804, FK_KX_ECDHE, params, n, payload);
    assert_err(run(&bench, K_RSA, FK_SIGNER_SIGN12, 0, payload, len), FK_ERR_RANGE);
    close_bench(&bench);
}

static void put_bn(struct fk_writer *writer, const BIGNUM *bn)
{
    uint8_t bytes[1024];
    int len = BN_bn2bin(bn, bytes);

    fk_writer_vec16(writer, bytes, (size_t)len);
}

/* ServerDHParams; the caller's numbers are freed. */
static size_t dh_params(BIGNUM *p, BIGNUM *g, BIGNUM *ys, uint8_t dst[2048])
{
    struct fk_writer writer;

    fk_writer_init(&writer, dst, 2048);
    put_bn(&writer, p);
    put_bn(&writer, g);
    put_bn(&writer, ys);
    assert_int_equal(writer.err, 0);
    BN_free(p);
    BN_free(g);
    BN_free(ys);
    return writer.len;
}

static BIGNUM *number(uint64_t value)
{
    BIGNUM *bn = BN_new();

    assert_int_equal(BN_set_word(bn, value), 1);
    return bn;
}

static BIGNUM *minus(BIGNUM *bn, uint64_t value)
{
    assert_int_equal(BN_sub_word(bn, value), 1);
    return bn;
}

static void sign12_checks_finite_field_numbers(void **state)
{
    BIGNUM *(*const prime)(BIGNUM *) = BN_get_rfc3526_prime_2048;
    uint8_t params[2048], payload[FK_SIGNER_PAYLOAD_MAX];
    struct bench bench;
    struct {
        BIGNUM *p, *g, *ys;
        int err;
    } cases[] = {
        {prime(NULL), number(2), number(12345), FK_OK},
        {prime(NULL), number(2), minus(prime(NULL), 2), FK_OK},
        {BN_get_rfc3526_prime_4096(NULL), number(2), number(12345), FK_OK},
        {prime(NULL), number(2), number(1), FK_ERR_RANGE},
        {prime(NULL), number(1), number(12345), FK_ERR_RANGE},
        {prime(NULL), number(2), minus(prime(NULL), 1), FK_ERR_RANGE},
        {prime(NULL), number(2), prime(NULL), FK_ERR_RANGE},
        {minus(prime(NULL), 1), number(2), number(12345), FK_ERR_RANGE}, /* even */
    };

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = dh_params(cases[i].p, cases[i].g, cases[i].ys, params);
        size_t len = payload12(0x0804, FK_KX_DHE, params, n, payload);

        assert_err(run(&bench, K_RSA, FK_SIGNER_SIGN12, 0, payload, len), cases[i].err);
        if (cases[i].err != FK_OK)
            continue;
        len = payload12(0x0403, FK_KX_DHE, params, n, payload);
        assert_err(run(&bench, P256, FK_SIGNER_SIGN12, 0, payload, len), FK_ERR_UNSUPPORTED);
    }
    close_bench(&bench);
}

static void sign12_refuses_small_fields(void **state)
{
    uint8_t params[2048], payload[FK_SIGNER_PAYLOAD_MAX];
    struct bench bench;
    size_t n, len;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    n = dh_params(BN_get_rfc3526_prime_1536(NULL), number(2), number(12345), params);
    len = payload12(0x0804, FK_KX_DHE, params, n, payload);
    assert_int_not_equal(run(&bench, K_RSA, FK_SIGNER_SIGN12, 0, payload, len), FK_OK);
    close_bench(&bench);
}

/* --- permissions --- */

struct operation {
    const char *name;
    uint16_t op, detail;
    unsigned need; /* permission */
    unsigned keys; /* that it fits */
    size_t len;
    uint8_t payload[FK_SIGNER_PAYLOAD_MAX];
};

static void encrypt_block(const uint8_t *block, uint8_t *ret)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, test_key(K_RSA), NULL);
    size_t len = 256;

    assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
    assert_int_equal(EVP_PKEY_encrypt(ctx, ret, &len, block, 256), 1);
    EVP_PKEY_CTX_free(ctx);
}

static size_t payload_decrypt(uint16_t version, const uint8_t ciphertext[256],
                              uint8_t dst[FK_SIGNER_PAYLOAD_MAX])
{
    struct fk_decrypt op = {.client_version = version};
    struct fk_writer writer;

    fk_reader_init(&op.ciphertext, ciphertext, 256);
    fk_writer_init(&writer, dst, FK_SIGNER_PAYLOAD_MAX);
    fk_decrypt_encode(&op, &writer);
    assert_int_equal(writer.err, 0);
    return writer.len;
}

static size_t make_operations(struct operation *ops)
{
    static const uint8_t zero[256];
    uint8_t params[256];
    size_t n = 0, params_len = ecdh_params(29, "X25519", params);
    const uint16_t fit[KEYS] = {0x0804, 0x0403, 0x0503, 0x0603, 0x0807};

    for (int k = 0; k < KEYS; k++) {
        ops[n] = (struct operation){"sign13", FK_SIGNER_SIGN13, 0, FK_PERM_SIGN13, 1U << k, 0, {0}};
        ops[n].len = payload13(fit[k], FK_ROLE_SERVER, 32, ops[n].payload);
        n++;
        ops[n] = (struct operation){"client", FK_SIGNER_SIGN13, 0, FK_PERM_CLIENT, 1U << k, 0, {0}};
        ops[n].len = payload13(fit[k], FK_ROLE_CLIENT, 32, ops[n].payload);
        n++;
        ops[n] = (struct operation){"sign12", FK_SIGNER_SIGN12, 0, FK_PERM_SIGN12, 1U << k, 0, {0}};
        if (fit[k] == 0x0403 || fit[k] == 0x0503 || fit[k] == 0x0603)
            ops[n].keys = ECS;
        ops[n].len = payload12(fit[k], FK_KX_ECDHE, params, params_len, ops[n].payload);
        n++;
    }
    ops[n] =
        (struct operation){"decrypt", FK_SIGNER_DECRYPT, 0, FK_PERM_DECRYPT, 1U << K_RSA, 0, {0}};
    ops[n].len = payload_decrypt(0x0303, zero, ops[n].payload);
    n++;
    ops[n++] = (struct operation){
        "d1 01", FK_SIGNER_DIALECT1, FK_OP_RSA_DECRYPT, FK_PERM_D1_DECRYPT, 1U << K_RSA, 256, {0}};
    for (uint16_t opcode = 0x03; opcode <= 0x37; opcode++) {
        static const size_t sizes[] = {20, 28, 32, 48, 64};
        struct operation op = {"d1 sign", FK_SIGNER_DIALECT1, opcode, FK_PERM_DIGEST, 0, 0, {0}};

        if (opcode <= 0x07) {
            op.keys = 1U << K_RSA;
            op.len = sizes[opcode - 3];
        } else if (opcode >= 0x13 && opcode <= 0x17) {
            op.keys = ECS;
            op.len = sizes[opcode - 0x13];
        } else if (opcode == 0x18) {
            op.keys = 1U << ED;
            op.len = 100;
        } else if (opcode >= 0x35) {
            op.keys = 1U << K_RSA;
            op.len = sizes[opcode - 0x35 + 2];
        } else
            continue;
        ops[n++] = op;
    }
    return n;
}

/* Every operation, with every key, with every single permission missing or alone. */
static void permissions_are_needed_one_by_one(void **state)
{
    static struct operation ops[64];
    size_t n = make_operations(ops);

    (void)state;
    for (unsigned bit = 0; bit < 6; bit++) {
        struct bench with, without;

        open_bench(&with, 1U << bit);
        open_bench(&without, UNIT_PERM_ALL & ~(1U << bit));
        for (size_t i = 0; i < n; i++)
            for (int k = 0; k < KEYS; k++) {
                const struct operation *op = &ops[i];
                bool fits = (op->keys & 1U << k) != 0;
                int err = run(&with, k, op->op, op->detail, op->payload, op->len);
                int err2 = run(&without, k, op->op, op->detail, op->payload, op->len);

                if (op->need != 1U << bit) {
                    assert_err(err, FK_ERR_DENIED);
                    assert_err(err2, fits ? FK_OK : FK_ERR_UNSUPPORTED);
                } else {
                    assert_err(err, fits ? FK_OK : FK_ERR_UNSUPPORTED);
                    assert_err(err2, FK_ERR_DENIED);
                }
            }
        close_bench(&with);
        close_bench(&without);
    }
}

static void raw_decryption_and_old_digests_are_never_served(void **state)
{
    struct bench bench;
    uint8_t payload[256] = {0};

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (int k = 0; k < KEYS; k++) {
        assert_err(run(&bench, k, FK_SIGNER_DIALECT1, FK_OP_RSA_RAW_DECRYPT, payload, 256),
                   FK_ERR_DENIED);
        assert_err(run(&bench, k, FK_SIGNER_DIALECT1, FK_OP_RSA_MD5SHA1, payload, 36),
                   FK_ERR_UNSUPPORTED);
        assert_err(run(&bench, k, FK_SIGNER_DIALECT1, FK_OP_ECDSA_MD5SHA1, payload, 36),
                   FK_ERR_UNSUPPORTED);
        assert_err(run(&bench, k, FK_SIGNER_DIALECT1, FK_OP_SEAL, payload, 36), FK_ERR_OPCODE);
        assert_err(run(&bench, k, FK_SIGNER_DIALECT1, 0x99, payload, 36), FK_ERR_OPCODE);
    }
    close_bench(&bench);
}

static void unknown_operations_and_keys_are_refused(void **state)
{
    struct fk_signer_request request = {.op = FK_SIGNER_SIGN13};
    uint8_t payload[256];
    struct bench bench;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    request.len = (uint32_t)payload13(0x0403, FK_ROLE_SERVER, 32, payload);
    assert_err(fk_ops_run(bench.ops, &request, payload, bench.ret, &bench.len),
               FK_ERR_KEY_NOT_FOUND);
    for (unsigned op = 0; op < 65536; op++) {
        if (op >= FK_SIGNER_SIGN13 && op <= FK_SIGNER_TICKET_UNSEAL)
            continue;
        assert_err(run(&bench, P256, (uint16_t)op, 0, payload, request.len), FK_ERR_OPCODE);
    }
    assert_ok(run(&bench, P256, FK_SIGNER_PING, 0, NULL, 0));
    assert_int_equal(bench.len, 0);
    assert_err(run(&bench, P256, FK_SIGNER_PING, 0, payload, 1), FK_ERR_TRAILING);
    close_bench(&bench);
}

static void peers_may_ask_what_their_kind_may(void **state)
{
    static const struct {
        uint16_t op;
        bool front, worker, audit, handshaker;
    } cases[] = {
        {FK_SIGNER_SIGN13, true, true, false, true},
        {FK_SIGNER_SIGN12, true, true, false, true},
        {FK_SIGNER_DECRYPT, true, true, false, true},
        {FK_SIGNER_DIALECT1, true, false, false, false},
        {FK_SIGNER_PING, true, true, true, true},
        {FK_SIGNER_AUDIT_START, false, false, true, false},
        {FK_SIGNER_AUDIT_CHECKPOINT, false, false, true, false},
        {FK_SIGNER_SIGNED, true, false, false, false},
        {0, false, false, false, false},
        {99, false, false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(fk_ops_permitted(FK_PEER_FRONT, cases[i].op), cases[i].front);
        assert_int_equal(fk_ops_permitted(FK_PEER_WORKER, cases[i].op), cases[i].worker);
        assert_int_equal(fk_ops_permitted(FK_PEER_AUDIT, cases[i].op), cases[i].audit);
        assert_int_equal(fk_ops_permitted(FK_PEER_HANDSHAKER, cases[i].op), cases[i].handshaker);
        assert_int_equal(fk_ops_permitted(FK_PEER_SIGNER, cases[i].op), false);
    }
}

/* What a handshaker asks for needs one permission of the key, which is of no use to others. */
static void a_handshaker_has_a_permission_of_its_own(void **state)
{
    struct fk_signer_request request = {.op = FK_SIGNER_SIGN13};
    uint8_t server[256], client[256];
    struct bench bench;

    (void)state;
    request.len = (uint32_t)payload13(0x0403, FK_ROLE_SERVER, 32, server);
    (void)payload13(0x0403, FK_ROLE_CLIENT, 32, client);
    for (int own = 0; own < 2; own++) {
        open_bench(&bench, own ? FK_PERM_HANDSHAKE : UNIT_PERM_ALL & ~FK_PERM_HANDSHAKE);
        memcpy(request.ski, skis[P256], 20);
        assert_err(run(&bench, P256, request.op, 0, server, request.len), own ? FK_ERR_DENIED : 0);
        assert_err(
            fk_ops_serve(bench.ops, FK_PEER_HANDSHAKER, &request, server, bench.ret, &bench.len),
            own ? FK_OK : FK_ERR_DENIED);
        assert_err(
            fk_ops_serve(bench.ops, FK_PEER_HANDSHAKER, &request, client, bench.ret, &bench.len),
            FK_ERR_DENIED);
        close_bench(&bench);
    }
}

/* --- dialect 1 --- */

static void dialect1_signs_digests_of_the_opcodes_length(void **state)
{
    static const struct {
        uint16_t opcode;
        int key;
        const char *md;
        bool pss;
    } cases[] = {
        {0x03, K_RSA, "SHA1", false},   {0x04, K_RSA, "SHA224", false},
        {0x05, K_RSA, "SHA256", false}, {0x06, K_RSA, "SHA384", false},
        {0x07, K_RSA, "SHA512", false}, {0x35, K_RSA, "SHA256", true},
        {0x36, K_RSA, "SHA384", true},  {0x37, K_RSA, "SHA512", true},
        {0x13, P256, "SHA1", false},    {0x14, P256, "SHA224", false},
        {0x15, P256, "SHA256", false},  {0x16, P384, "SHA384", false},
        {0x17, P521, "SHA512", false},  {0x15, P521, "SHA256", false},
        {0x17, P256, "SHA512", false},
    };
    uint8_t digest[65];
    struct bench bench;
    size_t len;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(EVP_Q_digest(NULL, cases[i].md, NULL, "text", 4, digest, &len), 1);
        assert_ok(run(&bench, cases[i].key, FK_SIGNER_DIALECT1, cases[i].opcode, digest, len));
        assert_true(verifies(cases[i].key, cases[i].md, cases[i].pss, "text", 4, &bench));
        for (size_t n = 0; n <= len + 1; n++)
            if (n != len)
                assert_err(
                    run(&bench, cases[i].key, FK_SIGNER_DIALECT1, cases[i].opcode, digest, n),
                    FK_ERR_FORMAT);
    }
    assert_ok(run(&bench, ED, FK_SIGNER_DIALECT1, FK_OP_ED25519, "a whole message", 15));
    assert_true(verifies(ED, NULL, false, "a whole message", 15, &bench));
    close_bench(&bench);
}

/* --- decryption --- */

/* A block 00 02 | 0xff padding | 00 | premaster: the good one that cases change in one place. */
static void good_block(uint8_t block[256])
{
    memset(block, 0xff, 256);
    block[0] = 0;
    block[1] = 2;
    block[207] = 0;
    for (int i = 0; i < 48; i++)
        block[208 + i] = (uint8_t)(0x40 + i);
    block[208] = 3;
    block[209] = 3;
}

struct bad_block {
    const char *name;
    size_t at;
    uint8_t value;
};

/* One change each; byte 0 stays below the modulus. */
static const struct bad_block bad_blocks[] = {
    {"first byte 1", 0, 1},
    {"type 0", 1, 0},
    {"type 1", 1, 1},
    {"type 3", 1, 3},
    {"zero first in padding", 2, 0},
    {"zero in the eighth byte of padding", 9, 0},
    {"zero after the eighth byte: a long premaster", 10, 0},
    {"zero in the middle", 100, 0},
    {"zero last in padding: 49 bytes", 206, 0},
    {"no separator", 207, 1},
    {"separator late: 47 bytes", 207, 0xff}, /* with byte 208 0, see below */
};
#define N_BAD (sizeof bad_blocks / sizeof bad_blocks[0])

static void bad_ciphertext(size_t i, uint8_t ret[256])
{
    uint8_t block[256];

    good_block(block);
    block[bad_blocks[i].at] = bad_blocks[i].value;
    if (i == N_BAD - 1)
        block[208] = 0;
    encrypt_block(block, ret);
}

static void decrypt_gives_the_premaster(void **state)
{
    uint8_t block[256], ciphertext[256], payload[FK_SIGNER_PAYLOAD_MAX];
    struct bench bench;
    size_t len;

    (void)state;
    open_bench(&bench, FK_PERM_DECRYPT);
    good_block(block);
    encrypt_block(block, ciphertext);
    len = payload_decrypt(0x0303, ciphertext, payload);
    assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
    assert_int_equal(bench.len, 48);
    assert_memory_equal(bench.ret, block + 208, 48);
    close_bench(&bench);
}

/* The version of the ClientHello stands in the answer always, and changes nothing else in it. */
static void version_is_forced_and_tells_nothing(void **state)
{
    uint8_t block[256], good[256], bad[256], payload[FK_SIGNER_PAYLOAD_MAX], first[48];
    const uint16_t versions[] = {0x0303, 0x0304, 0x0305, 0x03ff};
    const uint8_t *const ciphertexts[] = {good, bad};
    struct bench bench;

    (void)state;
    open_bench(&bench, FK_PERM_DECRYPT);
    good_block(block);
    encrypt_block(block, good);
    bad_ciphertext(1, bad);
    for (size_t c = 0; c < 2; c++)
        for (size_t v = 0; v < 4; v++) {
            size_t len = payload_decrypt(versions[v], ciphertexts[c], payload);

            assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
            assert_int_equal(bench.len, 48);
            assert_int_equal(bench.ret[0] << 8 | bench.ret[1], versions[v]);
            if (v == 0)
                memcpy(first, bench.ret, 48);
            assert_memory_equal(bench.ret + 2, first + 2, 46);
        }
    close_bench(&bench);
}

static void bad_padding_gets_a_steady_answer(void **state)
{
    uint8_t ciphertext[256], payload[FK_SIGNER_PAYLOAD_MAX], answers[N_BAD][48];
    struct bench bench, again;

    (void)state;
    open_bench(&bench, FK_PERM_DECRYPT);
    open_bench(&again, FK_PERM_DECRYPT); /* another signer with the same key */
    for (size_t i = 0; i < N_BAD; i++) {
        size_t len;

        bad_ciphertext(i, ciphertext);
        len = payload_decrypt(0x0303, ciphertext, payload);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
        assert_int_equal(bench.len, 48);
        assert_int_equal(bench.ret[0], 3);
        assert_int_equal(bench.ret[1], 3);
        memcpy(answers[i], bench.ret, 48);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
        assert_memory_equal(bench.ret, answers[i], 48);
        assert_ok(run(&again, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
        assert_memory_equal(again.ret, answers[i], 48);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(answers[i] + 2, answers[j] + 2, 46);
    }
    close_bench(&again);
    close_bench(&bench);
}

/* The answer is HMAC-SHA256(reject secret, 'p' | counter | ciphertext), and nothing of the block.
 */
static void answer_to_bad_padding_is_the_function_of_key_and_ciphertext(void **state)
{
    uint8_t ciphertext[256], payload[FK_SIGNER_PAYLOAD_MAX], in[258], mac[64];
    struct bench bench;
    size_t len;

    (void)state;
    open_bench(&bench, FK_PERM_DECRYPT);
    bad_ciphertext(4, ciphertext);
    len = payload_decrypt(0x0303, ciphertext, payload);
    assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
    in[0] = 'p';
    memcpy(in + 2, ciphertext, 256);
    for (uint8_t i = 1; i <= 2; i++) {
        in[1] = i;
        HMAC(EVP_sha256(), fk_keyset_find(bench.set, skis[K_RSA])->reject_secret, 32, in, sizeof in,
             mac + 32 * (i - 1), NULL);
    }
    assert_memory_equal(bench.ret + 2, mac + 2, 46);
    close_bench(&bench);
}

static void numbers_not_below_the_modulus_are_bad_padding(void **state)
{
    uint8_t ciphertext[256], payload[FK_SIGNER_PAYLOAD_MAX], first[48];
    struct bench bench;
    BIGNUM *n = NULL;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    assert_int_equal(EVP_PKEY_get_bn_param(keys[K_RSA], OSSL_PKEY_PARAM_RSA_N, &n), 1);
    for (int i = 0; i < 3; i++) {
        size_t len;

        if (i < 2) /* n, n + 1, all ones */
            assert_int_equal(BN_bn2binpad(n, ciphertext, 256), 256);
        else
            memset(ciphertext, 0xff, 256);
        len = payload_decrypt(0x0303, ciphertext, payload);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
        assert_int_equal(bench.len, 48);
        memcpy(first, bench.ret, 48);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, len));
        assert_memory_equal(bench.ret, first, 48);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DIALECT1, FK_OP_RSA_DECRYPT, ciphertext, 256));
        assert_int_equal(bench.len, 256);
        BN_add_word(n, 1);
    }
    BN_free(n);
    close_bench(&bench);
}

static void ciphertext_has_the_modulus_length(void **state)
{
    uint8_t ciphertext[257] = {0}, payload[FK_SIGNER_PAYLOAD_MAX];
    struct bench bench;

    (void)state;
    open_bench(&bench, UNIT_PERM_ALL);
    for (size_t n = 1; n <= 257; n++) {
        struct fk_decrypt op = {.client_version = 0x0303};
        struct fk_writer writer;

        if (n == 256)
            continue;
        fk_reader_init(&op.ciphertext, ciphertext, n);
        fk_writer_init(&writer, payload, sizeof payload);
        fk_decrypt_encode(&op, &writer);
        assert_err(run(&bench, K_RSA, FK_SIGNER_DECRYPT, 0, payload, writer.len), FK_ERR_FORMAT);
        assert_err(run(&bench, K_RSA, FK_SIGNER_DIALECT1, FK_OP_RSA_DECRYPT, ciphertext, n),
                   FK_ERR_FORMAT);
    }
    close_bench(&bench);
}

static void check_block_form(const uint8_t *block)
{
    assert_int_equal(block[0], 0);
    assert_int_equal(block[1], 2);
    for (int i = 2; i < 207; i++)
        assert_int_not_equal(block[i], 0);
    assert_int_equal(block[207], 0);
}

static void dialect1_decrypt_answers_with_a_block_always(void **state)
{
    uint8_t block[256], ciphertext[256], first[256];
    struct bench bench;

    (void)state;
    open_bench(&bench, FK_PERM_D1_DECRYPT);
    good_block(block);
    encrypt_block(block, ciphertext);
    assert_ok(run(&bench, K_RSA, FK_SIGNER_DIALECT1, FK_OP_RSA_DECRYPT, ciphertext, 256));
    assert_int_equal(bench.len, 256);
    check_block_form(bench.ret);
    assert_memory_equal(bench.ret + 208, block + 208, 48);
    assert_memory_not_equal(bench.ret + 2, block + 2, 205); /* the padding is ours */
    for (size_t i = 0; i < N_BAD; i++) {
        bad_ciphertext(i, ciphertext);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DIALECT1, FK_OP_RSA_DECRYPT, ciphertext, 256));
        assert_int_equal(bench.len, 256);
        check_block_form(bench.ret);
        memcpy(first, bench.ret, 256);
        assert_ok(run(&bench, K_RSA, FK_SIGNER_DIALECT1, FK_OP_RSA_DECRYPT, ciphertext, 256));
        assert_memory_equal(bench.ret, first, 256);
    }
    close_bench(&bench);
}

/* --- audit --- */

static void each_chain_begins_once(void **state)
{
    uint8_t first[FK_AUDIT_START_ANSWER], key[32];
    struct bench bench;

    (void)state;
    open_bench(&bench, 0);
    assert_ok(run(&bench, 0, FK_SIGNER_AUDIT_START, 0, NULL, 0));
    assert_int_equal(bench.len, FK_AUDIT_START_ANSWER);
    memcpy(first, bench.ret, sizeof first);
    assert_ok(fk_audit_chain_key(audit_secret, first, key));
    assert_memory_equal(first + FK_AUDIT_ID_SIZE, key, 32);
    assert_ok(run(&bench, 0, FK_SIGNER_AUDIT_START, 0, NULL, 0));
    assert_memory_not_equal(bench.ret, first, FK_AUDIT_ID_SIZE);
    assert_memory_not_equal(bench.ret + FK_AUDIT_ID_SIZE, key, 32);
    assert_err(run(&bench, 0, FK_SIGNER_AUDIT_START, 0, first, 16), FK_ERR_TRAILING);
    close_bench(&bench);
}

static void begin_chain(struct bench *bench, uint8_t ret[FK_AUDIT_ID_SIZE])
{
    assert_ok(run(bench, 0, FK_SIGNER_AUDIT_START, 0, NULL, 0));
    memcpy(ret, bench->ret, FK_AUDIT_ID_SIZE);
}

/* Only ids that a signer made count, and none of them in numbers makes another be forgotten. */
static void chains_are_not_forgotten_on_request(void **state)
{
    uint8_t mine[FK_AUDIT_CHECKPOINT_SIZE] = {0}, other[FK_AUDIT_CHECKPOINT_SIZE] = {0};
    struct bench bench, second;

    (void)state;
    open_bench(&bench, 0);
    begin_chain(&bench, mine);
    mine[FK_AUDIT_ID_SIZE + 7] = 9; /* lines */
    assert_ok(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, mine, sizeof mine));
    for (size_t bit = 0; bit < 8 * FK_AUDIT_ID_SIZE; bit++) {
        memcpy(other, mine, sizeof other);
        other[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_err(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, other, sizeof other),
                   FK_ERR_VERIFY);
    }
    mine[FK_AUDIT_ID_SIZE + 7] = 8;
    assert_err(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, mine, sizeof mine), FK_ERR_REPLAY);
    for (size_t i = 0; i < 2 * FK_SIGNER_CHAINS_MAX; i++) {
        begin_chain(&bench, other);
        (void)run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, other, sizeof other);
    }
    assert_err(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, mine, sizeof mine), FK_ERR_REPLAY);
    open_bench(&second, 0); /* a signer takes the chains of the others */
    assert_ok(run(&second, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, mine, sizeof mine));
    close_bench(&second);
    close_bench(&bench);
}

static void checkpoints_are_signed_and_never_go_back(void **state)
{
    uint8_t payload[FK_AUDIT_CHECKPOINT_SIZE + 1] = {0}, tbs[FK_AUDIT_TBS_SIZE];
    struct bench bench;
    struct fk_reader reader;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY *key;
    uint64_t when;

    (void)state;
    open_bench(&bench, 0);
    begin_chain(&bench, payload);
    payload[FK_AUDIT_ID_SIZE + 7] = 9; /* lines */
    assert_ok(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, payload, FK_AUDIT_CHECKPOINT_SIZE));
    assert_int_equal(bench.len, FK_AUDIT_CHECKPOINT_ANSWER);
    fk_reader_init(&reader, bench.ret, bench.len);
    assert_ok(fk_reader_u64(&reader, &when));
    fk_audit_checkpoint_tbs(payload, when, tbs);
    assert_ok(fk_audit_sign_key(audit_secret, &key));
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key), 1);
    assert_int_equal(EVP_DigestVerify(ctx, reader.next, reader.left, tbs, sizeof tbs), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    payload[FK_AUDIT_ID_SIZE + 7] = 8;
    assert_err(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, payload, FK_AUDIT_CHECKPOINT_SIZE),
               FK_ERR_REPLAY);
    begin_chain(&bench, payload); /* another chain may be shorter */
    assert_ok(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, payload, FK_AUDIT_CHECKPOINT_SIZE));
    for (size_t i = 0; i < FK_AUDIT_CHECKPOINT_SIZE; i++)
        assert_err(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, payload, i), FK_ERR_TRUNCATED);
    assert_err(run(&bench, 0, FK_SIGNER_AUDIT_CHECKPOINT, 0, payload, sizeof payload),
               FK_ERR_TRAILING);
    close_bench(&bench);
}

UNIT_MAIN(cmocka_unit_test(sign13_with_every_key_and_scheme),
          cmocka_unit_test(sign13_payload_is_read_whole),
          cmocka_unit_test(sign12_with_every_key_and_scheme),
          cmocka_unit_test(sign12_accepts_shares_of_allowed_groups),
          cmocka_unit_test(sign12_refuses_points_off_the_curve),
          cmocka_unit_test(sign12_checks_finite_field_numbers),
          cmocka_unit_test(sign12_refuses_small_fields),
          cmocka_unit_test(permissions_are_needed_one_by_one),
          cmocka_unit_test(raw_decryption_and_old_digests_are_never_served),
          cmocka_unit_test(unknown_operations_and_keys_are_refused),
          cmocka_unit_test(peers_may_ask_what_their_kind_may),
          cmocka_unit_test(a_handshaker_has_a_permission_of_its_own),
          cmocka_unit_test(dialect1_signs_digests_of_the_opcodes_length),
          cmocka_unit_test(decrypt_gives_the_premaster),
          cmocka_unit_test(version_is_forced_and_tells_nothing),
          cmocka_unit_test(bad_padding_gets_a_steady_answer),
          cmocka_unit_test(answer_to_bad_padding_is_the_function_of_key_and_ciphertext),
          cmocka_unit_test(numbers_not_below_the_modulus_are_bad_padding),
          cmocka_unit_test(ciphertext_has_the_modulus_length),
          cmocka_unit_test(dialect1_decrypt_answers_with_a_block_always),
          cmocka_unit_test(each_chain_begins_once),
          cmocka_unit_test(chains_are_not_forgotten_on_request),
          cmocka_unit_test(checkpoints_are_signed_and_never_go_back))
