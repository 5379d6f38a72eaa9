/*
 * A small certificate authority in a directory: ca.key, ca.crt, ca.crl and an index of what it
 * issued. It can live on a third host; certificates are then issued from requests.
 *
 * One process at a time works on a directory (a lock is held while it is open). The index is
 * rewritten whole at each change: a CA of a fleet has thousands of rows, not millions.
 */
#ifndef FK_CLI_CA_H
#define FK_CLI_CA_H

#include "cli/pki.h"

#include <stdbool.h>

#define FK_CA_DAYS      3650 /* a CA's life */
#define FK_CA_LEAF_DAYS 365  /* a channel certificate's */
/* A list's life: a host that gets no new list for so long refuses its peers. */
#define FK_CA_CRL_DAYS 365

enum fk_ca_kind { FK_CA_EDGE, FK_CA_KEYSERVER, FK_CA_SITE };

/* "edge", "keyserver", "site", NULL. */
extern const char *const fk_ca_kind_names[];

/* Longest label: "farkey:keyserver:" and a name, or a DNS name. */
#define FK_CA_LABEL_SIZE 256

struct fk_ca_entry {
    char serial[48];              /* upper-case hexadecimal */
    char label[FK_CA_LABEL_SIZE]; /* "farkey:edge:edge1"; a site's DNS name */
    int64_t issued;               /* seconds since 1970 */
    int64_t expires;
    int64_t revoked; /* 0: not */
};

struct fk_ca;

/* Make the directory with a P-256 key and a first empty list. FK_ERR_DUPLICATE when it is a CA. */
int fk_ca_create(const char *dir, const char *common_name);

/* Open and lock. FK_ERR_SYS (errno), FK_ERR_FORMAT, FK_ERR_MISMATCH, FK_ERR_AGAIN (locked). */
int fk_ca_open(const char *dir, struct fk_ca **ret);
void fk_ca_close(struct fk_ca *ca);

/* The label of a kind and name: what its certificates are filed under. FK_ERR_INVAL: bad name. */
int fk_ca_label(enum fk_ca_kind kind, const char *name, char ret[FK_CA_LABEL_SIZE]);

/* The kind of a label, and the name in it (borrowed). */
enum fk_ca_kind fk_ca_label_kind(const char *label, const char **ret_name);

/* What to certify. */
struct fk_ca_order {
    const char *label;
    const char *const *dns; /* a site's names; none: its label */
    size_t n_dns;
    unsigned days;
};

/* A certificate for a public key. Recorded in the index. */
int fk_ca_issue(struct fk_ca *ca, const struct fk_ca_order *order, EVP_PKEY *public_key,
                X509 **ret);

/*
 * Revoke by serial, by label, or by name where that is not ambiguous, and write a new list.
 * *ret_count: how many certificates. FK_ERR_NOT_FOUND, FK_ERR_DUPLICATE (ambiguous).
 */
int fk_ca_revoke(struct fk_ca *ca, const char *what, size_t *ret_count);

/* Write a new ca.crl. */
int fk_ca_write_crl(struct fk_ca *ca, unsigned days);

/* The label that a name stands for. FK_ERR_NOT_FOUND, FK_ERR_DUPLICATE. */
int fk_ca_find_label(const struct fk_ca *ca, const char *name, const char **ret);

/* Row `i` of the index in the order of issue; NULL past the end. */
const struct fk_ca_entry *fk_ca_at(const struct fk_ca *ca, size_t i);

/* Copy ca.crt and ca.crl into another directory. */
int fk_ca_publish(const struct fk_ca *ca, const char *dir);

/*
 * A key pair that is an edge's own and needs no certificate ("ED25519", "X25519"), into two files.
 * A key is not overwritten. FK_ERR_CRYPTO, FK_ERR_SYS, FK_ERR_DUPLICATE.
 */
int fk_ca_key_pair(const char *algorithm, const char *key_path, const char *public_path);

#endif
