/*
 * Handshakes of the inline box: OpenSSL over the bytes of a flow (inline/flow.h), with a site of a
 * generation, its certificates and its remote keys. Holds a session's secrets until the handshake
 * is done and its keys are handed over; what is kept then is what operators may know.
 */
#ifndef FK_EDGE_WIRETLS_H
#define FK_EDGE_WIRETLS_H

#include "base/log.h"
#include "edge/gen.h"
#include "inline/flow.h"

/* Of one worker. */
struct fk_wiretls_env {
    struct fk_loop *loop;
    struct fk_gen *gen; /* in service; NULL: none yet, then nobody is served */
    struct fk_metrics *metrics;
    struct fk_list waiting; /* those whose site has no certificate yet */
    uint64_t next_id;
    struct fk_log_limit limit;
    /* A flow's handshake can go on; may end it. */
    void (*wake)(void *arg, struct fk_flow *flow);
    void *arg;
};

/* What a session is: for the operator. Strings live as long as the flow. */
struct fk_wiretls_info {
    char *site, *sni; /* sni NULL: none was sent */
    char *client;     /* its certificate's subject; NULL: it showed none */
    const char *version, *cipher;
    uint8_t session[8];  /* names the session; says nothing about its secrets */
    uint64_t expires_us; /* wall clock: from then on it is not resumed */
    uint64_t waited_us;  /* for the private key */
    bool resumed;
};

/* For struct fk_flow_conf, with a struct fk_wiretls_env as tls_arg. */
extern const struct fk_flow_tls_ops fk_wiretls_ops;

void fk_wiretls_env_init(struct fk_wiretls_env *env, struct fk_loop *loop);

/* Sites may have certificates now: those that wait for one go on. */
void fk_wiretls_resume(struct fk_wiretls_env *env);

/* Of a flow's object of these ops; NULL until its handshake is done. */
const struct fk_wiretls_info *fk_wiretls_info(const void *tls);

#endif
