/*
 * A scripted key server for tests: real sockets and TLS, answers by script. It lives in the test's
 * own loop, which it stops at each event so that the test looks at its condition again.
 */
#ifndef FK_TESTS_KEYPEER_H
#define FK_TESTS_KEYPEER_H

#include "loop/addr.h"
#include "tls/channel.h"
#include "wire/keyop.h"

/* Answers to nothing that the script FLOOD sends. */
#define FLOODED 10000

enum keypeer_script {
    ANSWER,
    HOLD,   /* keep requests until release() answers them, the last first */
    SILENT, /* never answer, not even a ping */
    WRONG_ID,
    TWICE,
    HALF_FRAME, /* then close */
    GARBAGE,
    BAD_SIGNATURE,
    SHORT_SIGNATURE,
    REFUSE, /* with `code` */
    STRANGE_OPCODE,
    LATE,  /* answer on release() only, pings at once */
    FLOOD, /* thousands of answers to nothing, then the right one */
};

struct keypeer_held {
    uint32_t id;
    struct fk_sign13 op;
};

struct keypeer {
    struct fk_loop *loop;
    SSL_CTX *ctx;
    struct fk_addr addr;
    int listener;
    struct fk_io accept_io;
    struct fk_channel_io *io;
    enum keypeer_script script;
    bool refuses; /* closes channels when their handshake is done */
    uint8_t code;
    struct keypeer_held held[256];
    size_t n_held;
    unsigned requests, pings, infos, accepted;
    char sni[64];
    uint8_t client_ip_len;
    uint64_t generation;
    unsigned n_keys; /* listed, two a page */
};

/* An end of a channel under the tests' own authority. */
struct keypeer_identity {
    const char *san; /* "URI:..." */
    bool server;
    long serial;      /* 0: 1 */
    long not_after;   /* seconds from now; 0: tomorrow */
    long next_update; /* of the list that it has, seconds from now; 0: it has none */
    long revokes;     /* a serial number in that list; 0: none */
};

SSL_CTX *keypeer_ctx_of(const struct keypeer_identity *identity);
/* One without a list that lasts, for one URI SAN. */
SSL_CTX *keypeer_ctx(const char *san, bool server);
/* The key that all peers sign with (P-256). */
EVP_PKEY *keypeer_site_key(void);

/* Listen at peer->addr (which then tells the port); again after keypeer_down(), at the same. */
void keypeer_listen(struct keypeer *peer);
/* Connect to an edge that waits for it there; peer->ctx is set. */
void keypeer_dial(struct keypeer *peer, const struct fk_addr *addr);
/* Close the listener and the channel, as a process that is killed. */
void keypeer_down(struct keypeer *peer);
/* Answer what HOLD and LATE have kept, the last first. */
void keypeer_release(struct keypeer *peer);

#endif
