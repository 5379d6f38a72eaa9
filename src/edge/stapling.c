/* Which OCSP response is for which certificate: see stapling.h. */
#include "edge/stapling.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "edge/tlsctx.h"

#include <errno.h>
#include <string.h>

static int read_one(struct fk_bundle *bundle, const char *path, struct fk_staple **ret)
{
    struct fk_reader reader;
    const uint8_t *data;
    size_t len;
    int err = fk_bundle_read(bundle, path, &data, &len);

    if (err != FK_OK)
        return err;
    fk_reader_init(&reader, data, len);
    return fk_staple_new(reader, ret);
}

/* With one certificate. */
static int judge(const struct fk_staple *staple, const struct fk_edge_site *site,
                 const struct fk_cert *cert, enum fk_staple_fault *ret_fault,
                 struct fk_staple_term *ret)
{
    int err = fk_staple_judge(staple, cert, ret_fault, ret);

    if (err != FK_OK || fk_staple_wire_len(staple) <= fk_tlsctx_staple_max(site, cert))
        return err;
    *ret_fault = FK_STAPLE_LONG;
    return FK_ERR_VERIFY;
}

/* The certificate that it is for. FK_ERR_VERIFY: none, *ret_fault tells why not. */
static int find(const struct fk_staple *staple, const struct fk_edge_site *site,
                const struct fk_cert *certs, size_t count, enum fk_staple_fault *ret_fault,
                struct fk_staple_use *ret)
{
    enum fk_staple_fault fault = FK_STAPLE_FOREIGN;
    int err = FK_ERR_VERIFY;

    *ret_fault = FK_STAPLE_FOREIGN;
    for (size_t i = 0; err == FK_ERR_VERIFY && i < count; i++) {
        if (certs[i].leaf == NULL)
            continue;
        err = judge(staple, site, &certs[i], &fault, &ret->term);
        if (err == FK_OK)
            ret->leaf = certs[i].leaf;
        else if (fault != FK_STAPLE_FOREIGN)
            *ret_fault = fault;
    }
    return err;
}

static const struct fk_staple_use *use_of(const struct fk_staple_use *uses, size_t n,
                                          const X509 *leaf)
{
    for (size_t i = 0; i < n; i++)
        if (uses[i].leaf == leaf)
            return &uses[i];
    return NULL;
}

static void warn_of_term(const struct fk_edge_site *site, const struct fk_staple_term *term,
                         const char *file)
{
    int64_t now = (int64_t)(fk_clock_wall_us() / 1000000);

    if (now >= term->until)
        fk_log(FK_LOG_WARN, "an OCSP response has expired and is not sent",
               fk_str("site", site->block.title), fk_str("file", file));
    else if (now < term->from)
        fk_log(FK_LOG_WARN, "an OCSP response does not count yet and is not sent before",
               fk_str("site", site->block.title), fk_str("file", file));
}

/* --- the master --- */

static const char *read_error(int err)
{
    switch (err) {
    case FK_ERR_SYS:
        return strerror(errno);
    case FK_ERR_FORMAT:
        return "not an OCSP response; give one in DER or PEM, such as openssl ocsp -respout writes";
    case FK_ERR_DENIED:
        return "the responder answered with an error, not with a response; ask it again";
    case FK_ERR_UNSUPPORTED:
        return "not a basic OCSP response; there is no other type that clients read";
    default:
        return fk_err_text(err);
    }
}

static void complain(struct fk_conf *conf, const struct fk_edge_site *site, const char *path,
                     const char *why)
{
    fk_conf_blame(conf, &site->block, "ocsp", "site \"%s\": ocsp %s: %s", site->block.title, path,
                  why);
}

/* Judge one response by certificates that are files. False: it was complained of. */
static bool check_one(const struct fk_edge_site *site, struct fk_conf *conf, const char *path,
                      const struct fk_cert *certs, size_t count, struct fk_staple_use *ret)
{
    enum fk_staple_fault fault;
    int err = find(ret->staple, site, certs, count, &fault, ret);

    if (err == FK_OK)
        return true;
    if (err != FK_ERR_VERIFY)
        complain(conf, site, path, fk_err_text(err));
    else
        fk_conf_blame(conf, &site->block, "ocsp", "site \"%s\": ocsp %s %s", site->block.title,
                      path, fk_staple_fault_text(fault));
    return false;
}

void fk_stapling_check(const struct fk_edge_site *site, struct fk_bundle *bundle,
                       struct fk_conf *conf, const struct fk_cert *certs, size_t count)
{
    bool known = count > 0 && !fk_conf_is_bad(&site->block, "certificate");
    struct fk_staple_use uses[FK_EDGE_CERTS_MAX] = {{.staple = NULL}};
    size_t n = 0;

    if (fk_conf_is_bad(&site->block, "ocsp")) /* too many, or in a mode without */
        return;
    for (size_t i = 0; i < site->ocsp.count; i++) {
        const char *path = site->ocsp.items[i];
        struct fk_staple_use use = {.staple = NULL};
        int err = read_one(bundle, path, &use.staple);

        if (err != FK_OK)
            complain(conf, site, path, read_error(err));
        else if (known && check_one(site, conf, path, certs, count, &use)) {
            warn_of_term(site, &use.term, path);
            if (use_of(uses, n, use.leaf) != NULL)
                complain(conf, site, path, "the certificate has another one; give one for each");
            else
                uses[n++] = use;
        }
        fk_staple_unref(use.staple);
    }
}

/* --- a worker --- */

int fk_stapling_read(const struct fk_edge_site *site, struct fk_bundle *bundle,
                     struct fk_stapling *ret)
{
    struct fk_stapling stapling = {.count = 0};
    int err = FK_OK;

    while (err == FK_OK && stapling.count < site->ocsp.count &&
           stapling.count < FK_EDGE_CERTS_MAX) {
        err = read_one(bundle, site->ocsp.items[stapling.count], &stapling.items[stapling.count]);
        if (err == FK_OK)
            stapling.count++;
    }
    if (err == FK_OK)
        *ret = stapling;
    else
        fk_stapling_fini(&stapling);
    return err;
}

void fk_stapling_fini(struct fk_stapling *stapling)
{
    while (stapling->count > 0)
        fk_staple_unref(stapling->items[--stapling->count]);
}

/* What the master could not judge, as it did not have the certificates, is told here. */
static void warn(const struct fk_edge_site *site, const char *file, int err,
                 enum fk_staple_fault fault)
{
    char why[256];

    if (err == FK_ERR_VERIFY)
        snprintf(why, sizeof why, "%s", fk_staple_fault_text(fault));
    else
        snprintf(why, sizeof why, "%s",
                 err == FK_OK ? "its certificate has another one" : fk_err_text(err));
    fk_log(FK_LOG_WARN, "an OCSP response is not used", fk_str("site", site->block.title),
           fk_str("file", file), fk_str("why", why));
}

size_t fk_stapling_match(const struct fk_stapling *stapling, const struct fk_edge_site *site,
                         const struct fk_cert *certs, size_t count, struct fk_staple_use *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < stapling->count; i++) {
        struct fk_staple_use use = {.staple = stapling->items[i]};
        enum fk_staple_fault fault;
        int err = find(use.staple, site, certs, count, &fault, &use);

        if (err != FK_OK || use_of(ret, n, use.leaf) != NULL) {
            warn(site, site->ocsp.items[i], err, fault);
            continue;
        }
        if (site->certificate.count == 0)
            warn_of_term(site, &use.term, site->ocsp.items[i]);
        ret[n++] = use;
    }
    return n;
}
