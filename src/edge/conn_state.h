/*
 * The life of a client connection as a table: states, facts, and where a fact leads. Pure data;
 * what is done in a state is in conn.c.
 */
#ifndef FK_EDGE_CONN_STATE_H
#define FK_EDGE_CONN_STATE_H

/* X(name, text) */
#define FK_CONN_STATES(X)                                                                         \
    X(PROXY, "proxy")         /* reads the PROXY header */                                        \
    X(PLAIN, "plain")         /* a client without TLS: its listener says which site it gets */    \
    X(HELLO, "hello")         /* reads the ClientHello */                                         \
    X(WAIT, "wait")           /* its site has no certificate yet */                               \
    X(HANDSHAKE, "handshake") /* OpenSSL is at work */                                            \
    X(KEY, "key")             /* the private key's holder is asked */                             \
    X(PASS, "pass")           /* the key server shakes hands: records to the client, and of it */ \
    X(PASS_KEY, "pass-key")   /* the key server has the client's records */                       \
    X(RELAY, "relay")         /* bytes both ways */                                               \
    X(HALF, "half")           /* one side has ended */                                            \
    X(CLOSING, "closing")     /* last bytes on their way to the client */                         \
    X(DEAD, "dead")           /* everything is freed */

enum fk_conn_state {
#define FK_CONN_STATE_ENUM(name, text) FK_CONN_##name,
    FK_CONN_STATES(FK_CONN_STATE_ENUM)
#undef FK_CONN_STATE_ENUM
        FK_CONN_STATE_COUNT
};

/* What can become known. X(name, text) */
#define FK_CONN_FACTS(X)                    \
    X(PROXY_READ, "proxy header read")      \
    X(PROXY_PLAIN, "no TLS behind it")      \
    X(SITE_GIVEN, "site given")             \
    X(HELLO_READ, "hello accepted")         \
    X(HELLO_PASSED, "hello to be passed")   \
    X(NO_CERTIFICATE, "no certificate yet") \
    X(CERTIFICATE, "certificate arrived")   \
    X(KEY_ASKED, "key asked")               \
    X(KEY_ANSWERED, "key answered")         \
    X(SECURED, "handshake done")            \
    X(ONE_ENDED, "one side ended")          \
    X(BOTH_ENDED, "both sides ended")       \
    X(ORIGIN_GONE, "sent, origin gone")     \
    X(REFUSED, "alert sent")                \
    X(TIMEOUT, "time is over")              \
    X(LOST, "connection lost")

enum fk_conn_fact {
    FK_FACT_NONE, /* nothing new: wait */
#define FK_CONN_FACT_ENUM(name, text) FK_FACT_##name,
    FK_CONN_FACTS(FK_CONN_FACT_ENUM)
#undef FK_CONN_FACT_ENUM
        FK_FACT_COUNT
};

/* Which of the configured times bounds a state. */
enum fk_conn_limit {
    FK_LIMIT_NONE,
    FK_LIMIT_HANDSHAKE, /* from accept on */
    FK_LIMIT_KEY,       /* the deadline of who was asked, within the one above */
    FK_LIMIT_IDLE,      /* since the last byte */
    FK_LIMIT_HALF,
    FK_LIMIT_LINGER,
};

/* The state that `fact` leads to, FK_CONN_STATE_COUNT when it cannot happen in `state`. */
enum fk_conn_state fk_conn_next(enum fk_conn_state state, enum fk_conn_fact fact);
enum fk_conn_limit fk_conn_limit_of(enum fk_conn_state state);

const char *fk_conn_state_name(enum fk_conn_state state);
const char *fk_conn_fact_name(enum fk_conn_fact fact);

#endif
