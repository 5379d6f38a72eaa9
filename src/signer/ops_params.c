/*
 * Whether ephemeral parameters are what a TLS 1.2 server sends: an allowed group, a point on it, a
 * number in range. What is signed here can then not be mistaken for anything else.
 */
#include "base/err.h"
#include "signer/ops_local.h"
#include "wire/keyop.h"

#include <openssl/err.h>
#include <string.h>

/* NamedGroup, RFC 8446 section 4.2.7. */
struct group {
    uint16_t id;
    uint8_t size; /* of the point */
    int8_t nist;  /* index in struct fk_ops, -1: a Montgomery curve */
};

static const struct group groups[] = {
    {23, 65, 0}, {24, 97, 1}, {25, 133, 2}, {29, 32, -1}, {30, 56, -1},
};

static const struct group *find_group(uint16_t id)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i].id == id)
            return &groups[i];
    return NULL;
}

/* Any 32 or 56 bytes are a point of a Montgomery curve (RFC 7748 section 5); zero is the one that
 * a broken server would send. */
static int check_montgomery(const struct fk_reader *point)
{
    uint8_t any = 0;

    for (size_t i = 0; i < point->left; i++)
        any |= point->next[i];
    return any != 0 ? FK_OK : FK_ERR_RANGE;
}

/* Uncompressed only (RFC 8422 section 5.4.1); reading a point checks that it is on the curve. */
static int check_nist(struct fk_ops *ops, int which, const struct fk_reader *point)
{
    if (point->next[0] != 4)
        return FK_ERR_FORMAT;
    if (EC_POINT_oct2point(ops->groups[which], ops->points[which], point->next, point->left,
                           ops->bn_ctx) == 1)
        return FK_OK;
    ERR_clear_error();
    return FK_ERR_RANGE;
}

int fk_ops_check_ecdh(struct fk_ops *ops, struct fk_reader params)
{
    struct fk_ecdh_params ecdh;
    const struct group *group;
    int err;

    if ((err = fk_ecdh_params_decode(params, &ecdh)) != FK_OK)
        return err;
    group = find_group(ecdh.group);
    if (group == NULL)
        return FK_ERR_UNSUPPORTED;
    if (ecdh.point.left != group->size)
        return FK_ERR_FORMAT;
    return group->nist < 0 ? check_montgomery(&ecdh.point)
                           : check_nist(ops, group->nist, &ecdh.point);
}

/* --- finite fields --- */

/* Compare big-endian numbers without leading zeros: negative, 0 or positive. */
static int compare(const struct fk_reader *a, const struct fk_reader *b)
{
    if (a->left != b->left)
        return a->left < b->left ? -1 : 1;
    return memcmp(a->next, b->next, a->left);
}

/* 1 < x < p - 1, where `last` is p - 1. */
static bool in_range(const struct fk_reader *x, const struct fk_reader *last)
{
    if (x->left == 0 || (x->left == 1 && x->next[0] <= 1))
        return false;
    return compare(x, last) < 0;
}

/* 2048 to 4096 bits: RFC 7919's ffdhe2048 to ffdhe4096, or groups of that size. */
int fk_ops_check_dh(struct fk_reader params)
{
    struct fk_dh_params dh;
    struct fk_reader last;
    uint8_t less[512]; /* p - 1: p is odd, so only its last bit changes */
    int err;

    if ((err = fk_dh_params_decode(params, &dh)) != FK_OK)
        return err;
    if (dh.p.left < 256 || dh.p.left > sizeof less)
        return FK_ERR_UNSUPPORTED;
    if (dh.p.left == 256 && (dh.p.next[0] & 0x80) == 0)
        return FK_ERR_UNSUPPORTED;
    memcpy(less, dh.p.next, dh.p.left);
    if ((less[dh.p.left - 1] & 1) == 0)
        return FK_ERR_RANGE;
    less[dh.p.left - 1] ^= 1;
    fk_reader_init(&last, less, dh.p.left);
    return in_range(&dh.g, &last) && in_range(&dh.ys, &last) ? FK_OK : FK_ERR_RANGE;
}
