/* What the edge counts: ids and the table that writers and the admin process share. */
#ifndef FK_EDGE_METRICS_H
#define FK_EDGE_METRICS_H

#include "inline/box.h"
#include "loop/metrics.h"

/* X(id, name, labels, kind, help) */
#define FK_EDGE_METRICS(X)                                                                         \
    X(ACCEPTED, "connections_total", NULL, COUNTER, "Client connections accepted.")                \
    X(ACTIVE, "connections", NULL, GAUGE, "Client connections open now.")                          \
    X(HS_TLS13, "handshakes_total", "result=\"ok\",version=\"TLSv1.3\",resumed=\"no\"", COUNTER,   \
      "Handshakes that ended, by result.")                                                         \
    X(HS_TLS13_RES, "handshakes_total", "result=\"ok\",version=\"TLSv1.3\",resumed=\"yes\"",       \
      COUNTER, "")                                                                                 \
    X(HS_TLS12, "handshakes_total", "result=\"ok\",version=\"TLSv1.2\",resumed=\"no\"", COUNTER,   \
      "")                                                                                          \
    X(HS_TLS12_RES, "handshakes_total", "result=\"ok\",version=\"TLSv1.2\",resumed=\"yes\"",       \
      COUNTER, "")                                                                                 \
    X(HS_REFUSED, "handshakes_total", "result=\"refused\"", COUNTER, "")                           \
    X(HS_KEY, "handshakes_total", "result=\"key\"", COUNTER, "")                                   \
    X(HS_TIMEOUT, "handshakes_total", "result=\"timeout\"", COUNTER, "")                           \
    X(HS_LOST, "handshakes_total", "result=\"lost\"", COUNTER, "")                                 \
    X(STAPLED, "ocsp_responses_total", "result=\"sent\"", COUNTER,                                 \
      "Full handshakes whose client asked for an OCSP response and whose certificate has one.")    \
    X(STAPLE_EXPIRED, "ocsp_responses_total", "result=\"expired\"", COUNTER, "")                   \
    X(HANDED_OVER, "handed_over_total", NULL, COUNTER,                                             \
      "Sessions whose records the record engine protects after OpenSSL's handshake.")              \
    X(PASSED, "handshakes_passed_total", NULL, COUNTER,                                            \
      "Handshakes that a key server made (mode handshake).")                                       \
    X(PASS_ROUNDS, "handshake_rounds_total", NULL, COUNTER,                                        \
      "Round trips to key servers in these handshakes.")                                           \
    X(LENT, "lendings_total", "result=\"ok\"", COUNTER,                                            \
      "Keys that key servers have lent to signers of this host (mode lend).")                      \
    X(LEND_FAILED, "lendings_total", "result=\"failed\"", COUNTER, "")                             \
    X(AWAKE, "awake", NULL, GAUGE,                                                                 \
      "Of the sessions of the record engine, those that hold cipher contexts, for traffic a "      \
      "second ago or less.")                                                                       \
    X(LIMITED_ADDRESS, "limited_total", "limit=\"address\"", COUNTER,                              \
      "Connections turned away or cut off by a limit.")                                            \
    X(LIMITED_RATE, "limited_total", "limit=\"handshakes\"", COUNTER, "")                          \
    X(LIMITED_FDS, "limited_total", "limit=\"descriptors\"", COUNTER, "")                          \
    X(LIMITED_MESSAGES, "limited_total", "limit=\"messages\"", COUNTER, "")                        \
    X(UNKNOWN_NAME, "unknown_names_total", NULL, COUNTER, "Clients that asked for no known site.") \
    X(HS_SECONDS, "handshake_seconds", NULL, HISTOGRAM, "From accept to the handshake's end.")     \
    X(KEY_SECONDS, "key_seconds", NULL, HISTOGRAM,                                                 \
      "Time spent waiting for a private-key operation.")                                           \
    X(BYTES_UP, "relayed_bytes_total", "direction=\"up\"", COUNTER,                                \
      "Bytes relayed, from clients (up) and to them (down).")                                      \
    X(BYTES_DOWN, "relayed_bytes_total", "direction=\"down\"", COUNTER, "")                        \
    X(STORE_FOUND, "session_store_finds_total", "result=\"found\"", COUNTER,                       \
      "Sessions looked for in the store that edges share, by result.")                             \
    X(STORE_MISSING, "session_store_finds_total", "result=\"missing\"", COUNTER, "")               \
    X(STORE_LATE, "session_store_finds_total", "result=\"late\"", COUNTER, "")                     \
    X(STORE_AWAY, "session_store_finds_total", "result=\"away\"", COUNTER, "")                     \
    X(STORE_KEPT, "session_store_puts_total", "result=\"kept\"", COUNTER,                          \
      "Sessions given to the store that edges share, by result.")                                  \
    X(STORE_DROPPED, "session_store_puts_total", "result=\"dropped\"", COUNTER, "")                \
    X(ORIGIN_FAILED, "origin_failures_total", NULL, COUNTER,                                       \
      "Connections for which no origin could be reached.")                                         \
    X(ORIGIN_LATE, "origin_answers_late_total", NULL, COUNTER,                                     \
      "Requests whose answer did not begin in time.")                                              \
    X(ORIGIN_MADE, "origin_uses_total", "connection=\"new\"", COUNTER,                             \
      "Connections to origins that requests of sites with protocol = http got.")                   \
    X(ORIGIN_KEPT, "origin_uses_total", "connection=\"kept\"", COUNTER, "")                        \
    X(ORIGIN_SHAKEN, "origin_handshakes_total", "session=\"new\"", COUNTER,                        \
      "Of the new ones, those that are TLS, by how its session began.")                            \
    X(ORIGIN_RESUMED, "origin_handshakes_total", "session=\"resumed\"", COUNTER, "")               \
    X(HTTP_REQUESTS, "http_requests_total", NULL, COUNTER,                                         \
      "Requests of sites with protocol = http.")                                                   \
    X(HTTP2_REQUESTS, "http2_requests_total", NULL, COUNTER,                                       \
      "Of these requests, those that came by HTTP/2.")                                             \
    X(HTTP2_ERRORS, "http2_cut_off_total", "why=\"protocol\"", COUNTER,                            \
      "Connections of HTTP/2 that were ended for what the client has sent.")                       \
    X(HTTP2_FLOODS, "http2_cut_off_total", "why=\"flood\"", COUNTER, "")                           \
    X(HTTP_REFUSED, "http_refused_total", "side=\"client\"", COUNTER,                              \
      "Requests (client) and answers (origin) that were refused as malformed.")                    \
    X(HTTP_BAD_ANSWERS, "http_refused_total", "side=\"origin\"", COUNTER, "")                      \
    X(CERT_MISSING, "certificate_refusals_total", "why=\"missing\"", COUNTER,                      \
      "Requests that were refused for the client's certificate.")                                  \
    X(CERT_LARGE, "certificate_refusals_total", "why=\"large\"", COUNTER, "")                      \
    X(CERT_FIELD_BAD, "certificate_refusals_total", "why=\"field\"", COUNTER, "")                  \
    X(MISDIRECTED, "certificate_refusals_total", "why=\"misdirected\"", COUNTER, "")               \
    X(CACHE_HITS, "cache_requests_total", "result=\"hit\"", COUNTER,                               \
      "Requests of sites with cache = on, by what answered them.")                                 \
    X(CACHE_STALE, "cache_requests_total", "result=\"stale\"", COUNTER, "")                        \
    X(CACHE_REVALIDATED, "cache_requests_total", "result=\"revalidated\"", COUNTER, "")            \
    X(CACHE_COLLAPSED, "cache_requests_total", "result=\"collapsed\"", COUNTER, "")                \
    X(CACHE_MISSES, "cache_requests_total", "result=\"miss\"", COUNTER, "")                        \
    X(CACHE_PASSED, "cache_requests_total", "result=\"pass\"", COUNTER, "")                        \
    X(CACHE_STORED, "cache_stored_total", NULL, COUNTER, "Answers stored.")                        \
    X(CACHE_EVICTED, "cache_evicted_total", NULL, COUNTER, "Stored answers that made room.")       \
    X(CACHE_PURGED, "cache_purged_total", NULL, COUNTER,                                           \
      "Stored answers that operators or changes of their targets removed.")                        \
    X(CACHE_REFUSED, "cache_refused_total", NULL, COUNTER,                                         \
      "Answers that were too large to be stored, or for which there was no room.")                 \
    X(CACHE_ENTRIES, "cache_entries", NULL, GAUGE, "Answers stored now.")                          \
    X(CACHE_BYTES, "cache_bytes", NULL, GAUGE, "Bytes of memory that stored answers take now.")    \
    X(IDLE, "idle_timeouts_total", NULL, COUNTER, "Connections closed because nothing moved.")

enum fk_edge_metric {
#define FK_EDGE_METRIC_ENUM(id, name, labels, kind, help) FK_EDGE_##id,
    FK_EDGE_METRICS(FK_EDGE_METRIC_ENUM)
#undef FK_EDGE_METRIC_ENUM
        FK_EDGE_METRIC_COUNT
};

extern const struct fk_metric fk_edge_metrics[];

/* The inline box's: the edge's, then those of its flows (FK_FLOW_N_*), then of the box
 * (FK_BOX_N_*), then these. X(id, name, labels, kind, help) */
#define FK_WIRE_METRICS(X)                                                         \
    X(FLOWS_NOW, "flows", NULL, GAUGE, "Connections through the box now.")         \
    X(LOST, "lost_total", NULL, COUNTER, "Frames that an interface did not take.") \
    X(OUTBOX, "outbox_total", NULL, COUNTER, "Packets for which there was no room.")

enum fk_inline_metric {
    FK_INLINE_FLOW = FK_EDGE_METRIC_COUNT,
    FK_INLINE_BOX = FK_INLINE_FLOW + FK_FLOW_N_COUNT,
    FK_INLINE_WIRE = FK_INLINE_BOX + FK_BOX_N_COUNT,
    FK_INLINE_BEFORE = FK_INLINE_WIRE - 1,
#define FK_WIRE_METRIC_ENUM(id, name, labels, kind, help) FK_INLINE_##id,
    FK_WIRE_METRICS(FK_WIRE_METRIC_ENUM)
#undef FK_WIRE_METRIC_ENUM
        FK_INLINE_METRIC_COUNT
};

extern const struct fk_metric fk_inline_metrics[];

#endif
