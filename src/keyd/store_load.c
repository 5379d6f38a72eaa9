/*
 * Loading the key store in a process of its own: private keys are parsed there and nowhere else, so
 * that none is ever in the master's memory. What comes back is public, and a sealed memfd that only
 * signers map.
 */
#include "base/err.h"
#include "conf/bundle.h"
#include "keyd/store_priv.h"
#include "loop/errand.h"
#include "loop/sock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the errand says: complaints ("path\0what\0"); tokens (struct fk_store_token, fds[0] its
 * bundle); then the store: fds[0] keys, fds[1] bundle; arg: the number that a token got last. */
enum { MSG_COMPLAINT = 1, MSG_TOKEN, MSG_STORE };

#define FACTS_PATH "facts"

/* Beside the index: what the master alone wants to know of a key. */
struct facts {
    int64_t not_after;
    uint64_t retired_until_us;
};

struct errand {
    const struct fk_keyd_conf *conf;
    const uint8_t *audit_secret;
    const struct fk_store *previous;
    fk_store_complain *complain;
    void *arg;
    int sock;
    /* what came back */
    struct fk_store_token tokens[FK_TOKENS_MAX];
    size_t n_tokens;
    struct fk_store *store;
    int err;
};

/* --- in the process of its own --- */

static void pass_on(void *arg, const char *path, const char *what)
{
    const struct errand *errand = arg;
    struct fk_procmsg msg = {.type = MSG_COMPLAINT};
    char *text = (char *)msg.data;

    /* Either may be cut, neither may lose its end. */
    snprintf(text, sizeof msg.data / 2, "%s", path);
    snprintf(text + strlen(text) + 1, sizeof msg.data / 2, "%s", what);
    msg.len = sizeof msg.data;
    (void)fk_errand_say(errand->sock, &msg);
}

static int seal_facts(const struct fk_store *store, int *ret_fd)
{
    size_t n = fk_store_count(store), len;
    const uint8_t *index = fk_store_index(store, &len);
    struct facts *facts = calloc(n + 1, sizeof *facts);
    struct fk_bundle *bundle = NULL;
    int err = facts == NULL ? FK_ERR_NOMEM : fk_bundle_new(&bundle);

    if (err != FK_OK)
        goto out;
    for (size_t i = 0; i < n; i++) {
        const struct fk_store_key *key = fk_store_key(store, i);

        facts[i] = (struct facts){key->not_after, key->retired_until_us};
    }
    if ((err = fk_bundle_add(bundle, FACTS_PATH, facts, n * sizeof *facts)) == FK_OK &&
        (err = fk_bundle_add(bundle, FK_INDEX_PATH, index, len)) == FK_OK)
        err = fk_bundle_seal(bundle, ret_fd);
out:
    fk_bundle_free(bundle);
    free(facts);
    return err;
}

static int say_tokens(const struct fk_store *store, int sock)
{
    const struct fk_store_token *token;
    int err = FK_OK;

    for (size_t i = 0; err == FK_OK && (token = fk_store_token_at(store, i)) != NULL; i++) {
        struct fk_procmsg msg = {
            .type = MSG_TOKEN, .n_fds = 1, .fds = {token->fd}, .len = sizeof *token};

        memcpy(msg.data, token, sizeof *token);
        err = fk_errand_say(sock, &msg);
    }
    return err;
}

static int work(void *arg, int sock)
{
    struct errand *errand = arg;
    struct fk_procmsg msg = {.type = MSG_STORE, .n_fds = 2};
    struct fk_store *store;
    int err;

    errand->sock = sock;
    err = fk_store_read(errand->conf, errand->audit_secret, errand->previous, pass_on, errand,
                        &store);
    if (err != FK_OK)
        return err;
    msg.arg = fk_store_last_token(store);
    msg.fds[0] = fk_store_keys_fd(store);
    if ((err = say_tokens(store, sock)) != FK_OK || (err = seal_facts(store, &msg.fds[1])) != FK_OK)
        return err;
    return fk_errand_say(sock, &msg);
}

/* --- in the master --- */

static int restore(int keys_fd, int bundle_fd, struct fk_store **ret)
{
    const uint8_t *facts, *index;
    struct fk_bundle *bundle;
    struct fk_store *store;
    size_t facts_len, index_len;
    int err = fk_bundle_open(bundle_fd, &bundle);

    if (err != FK_OK)
        return err;
    if ((err = fk_bundle_read(bundle, FACTS_PATH, &facts, &facts_len)) != FK_OK ||
        (err = fk_bundle_read(bundle, FK_INDEX_PATH, &index, &index_len)) != FK_OK ||
        (err = fk_store_from_index(index, index_len, &store)) != FK_OK)
        goto out;
    if (facts_len != fk_store_count(store) * sizeof(struct facts)) {
        fk_store_free(store);
        err = FK_ERR_FORMAT;
        goto out;
    }
    for (size_t i = 0; i < fk_store_count(store); i++) {
        struct fk_store_key *key = fk_store_key(store, i);
        struct facts one;

        memcpy(&one, facts + i * sizeof one, sizeof one);
        key->not_after = one.not_after;
        key->retired_until_us = one.retired_until_us;
    }
    fk_store_take_keys(store, keys_fd);
    *ret = store;
out:
    fk_bundle_free(bundle);
    return err;
}

static void take_token(struct errand *errand, struct fk_procmsg *msg)
{
    struct fk_store_token *token = &errand->tokens[errand->n_tokens++];

    memcpy(token, msg->data, sizeof *token);
    token->fd = msg->fds[0];
    msg->fds[0] = -1; /* moved */
}

/* Its tokens came before the store. */
static void give_tokens(struct errand *errand, uint16_t last)
{
    fk_store_set_last_token(errand->store, last);
    for (size_t i = 0; i < errand->n_tokens; i++) {
        fk_store_add_token(errand->store, &errand->tokens[i]);
        errand->tokens[i].fd = -1; /* moved */
    }
}

static void hear(void *arg, struct fk_procmsg *msg)
{
    struct errand *errand = arg;
    const char *path = (const char *)msg->data;

    if (msg->type == MSG_COMPLAINT && msg->len == sizeof msg->data) {
        errand->complain(errand->arg, path, path + strlen(path) + 1);
    } else if (msg->type == MSG_STORE && msg->n_fds == 2 && errand->store == NULL) {
        errand->err = restore(msg->fds[0], msg->fds[1], &errand->store);
        if (errand->err == FK_OK) {
            msg->fds[0] = -1; /* moved */
            give_tokens(errand, (uint16_t)msg->arg);
        }
    } else if (msg->type == MSG_TOKEN && msg->n_fds == 1 &&
               msg->len == sizeof(struct fk_store_token) && errand->n_tokens < FK_TOKENS_MAX) {
        take_token(errand, msg);
    }
}

int fk_store_load(const struct fk_keyd_conf *conf, const uint8_t *audit_secret,
                  const struct fk_store *previous, fk_store_complain *complain, void *arg,
                  struct fk_store **ret)
{
    struct errand errand = {.conf = conf,
                            .audit_secret = audit_secret,
                            .previous = previous,
                            .complain = complain,
                            .arg = arg};
    int err = fk_errand_run(work, hear, &errand);

    for (size_t i = 0; i < errand.n_tokens; i++)
        fk_close(&errand.tokens[i].fd); /* of those that no store has got */
    if (err == FK_OK)
        err = errand.err;
    if (err == FK_OK && errand.store == NULL)
        err = FK_ERR_INTERNAL;
    if (err != FK_OK) {
        fk_store_free(errand.store);
        return err;
    }
    *ret = errand.store;
    return FK_OK;
}
