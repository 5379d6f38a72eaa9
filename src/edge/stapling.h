/*
 * A site's OCSP responses: read from the files that it names, and each given to the certificate
 * that it is about. The master refuses files that are of no use; a worker goes on without those
 * that do not fit what a key server lists.
 */
#ifndef FK_EDGE_STAPLING_H
#define FK_EDGE_STAPLING_H

#include "base/limits.h"
#include "conf/bundle.h"
#include "edge/conf.h"
#include "tls/staple.h"

struct fk_stapling {
    struct fk_staple *items[FK_EDGE_CERTS_MAX];
    size_t count;
};

/*
 * For the master: complain of all that is wrong with a site's `ocsp`. `certs` (`count` 0: they are
 * the key server's) may have members without a leaf, of files that are complained of elsewhere. A
 * response out of its term is a warning in the log only.
 */
void fk_stapling_check(const struct fk_edge_site *site, struct fk_bundle *bundle,
                       struct fk_conf *conf, const struct fk_cert *certs, size_t count);

/* For a worker: *ret is empty for a site without. Errors as those of reading and fk_staple_new().
 */
int fk_stapling_read(const struct fk_edge_site *site, struct fk_bundle *bundle,
                     struct fk_stapling *ret);
void fk_stapling_fini(struct fk_stapling *stapling); /* zero is fine */

/*
 * Which of them to show with these certificates, at most one with each; `ret` has room for
 * FK_EDGE_CERTS_MAX, borrowed from both. Those that fit none are a warning in the log. Their
 * number.
 */
size_t fk_stapling_match(const struct fk_stapling *stapling, const struct fk_edge_site *site,
                         const struct fk_cert *certs, size_t count, struct fk_staple_use *ret);

#endif
