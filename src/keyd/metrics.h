/* What the fronts of a key server count. One table, from which fronts and admin are compiled. */
#ifndef FK_KEYD_METRICS_H
#define FK_KEYD_METRICS_H

#include "loop/metrics.h"

/* X(id, name, labels, kind, help) */
#define FK_KEYD_METRICS(X)                                                                         \
    X(CONNECTIONS, "farkey_keyd_channels_total", NULL, COUNTER, "Channels opened.")                \
    X(CONNECTED, "farkey_keyd_channels", NULL, GAUGE, "Channels open now.")                        \
    X(REFUSED_ADDRESS, "farkey_keyd_refused_total", "reason=\"address\"", COUNTER,                 \
      "Connections refused, by reason.")                                                           \
    X(REFUSED_FULL, "farkey_keyd_refused_total", "reason=\"full\"", COUNTER,                       \
      "Connections refused, by reason.")                                                           \
    X(REFUSED_TLS, "farkey_keyd_refused_total", "reason=\"tls\"", COUNTER,                         \
      "Connections refused, by reason.")                                                           \
    X(REFUSED_IDENTITY, "farkey_keyd_refused_total", "reason=\"identity\"", COUNTER,               \
      "Connections refused, by reason.")                                                           \
    X(REFUSED_DIALECT, "farkey_keyd_refused_total", "reason=\"dialect\"", COUNTER,                 \
      "Connections refused, by reason.")                                                           \
    X(TIMEOUTS, "farkey_keyd_channel_timeouts_total", NULL, COUNTER,                               \
      "Channels closed for being idle, slow or incomplete.")                                       \
    X(OP_SIGN13, "farkey_keyd_requests_total", "op=\"sign-1.3\"", COUNTER,                         \
      "Requests received, by operation.")                                                          \
    X(OP_SIGN12, "farkey_keyd_requests_total", "op=\"sign-1.2\"", COUNTER,                         \
      "Requests received, by operation.")                                                          \
    X(OP_DECRYPT, "farkey_keyd_requests_total", "op=\"decrypt\"", COUNTER,                         \
      "Requests received, by operation.")                                                          \
    X(OP_LEND, "farkey_keyd_requests_total", "op=\"lend\"", COUNTER,                               \
      "Requests received, by operation.")                                                          \
    X(OP_AGREE_INIT, "farkey_keyd_requests_total", "op=\"agree-init\"", COUNTER,                   \
      "Requests received, by operation.")                                                          \
    X(OP_AGREE_FINISH, "farkey_keyd_requests_total", "op=\"agree-finish\"", COUNTER,               \
      "Requests received, by operation.")                                                          \
    X(OP_MASTER, "farkey_keyd_requests_total", "op=\"master\"", COUNTER,                           \
      "Requests received, by operation.")                                                          \
    X(OP_KEYS, "farkey_keyd_requests_total", "op=\"keys\"", COUNTER,                               \
      "Requests received, by operation.")                                                          \
    X(OP_FINISHED, "farkey_keyd_requests_total", "op=\"finished\"", COUNTER,                       \
      "Requests received, by operation.")                                                          \
    X(OP_KEYS_KEEP, "farkey_keyd_requests_total", "op=\"keys-keep\"", COUNTER,                     \
      "Requests received, by operation.")                                                          \
    X(OP_RESUME, "farkey_keyd_requests_total", "op=\"resume\"", COUNTER,                           \
      "Requests received, by operation.")                                                          \
    X(OP_EXPOSE, "farkey_keyd_requests_total", "op=\"expose\"", COUNTER,                           \
      "Requests received, by operation.")                                                          \
    X(OP_HELLO13, "farkey_keyd_requests_total", "op=\"hello13\"", COUNTER,                         \
      "Requests received, by operation.")                                                          \
    X(OP_FLIGHT13, "farkey_keyd_requests_total", "op=\"flight13\"", COUNTER,                       \
      "Requests received, by operation.")                                                          \
    X(OP_TICKET_SEAL, "farkey_keyd_requests_total", "op=\"ticket-seal\"", COUNTER,                 \
      "Requests received, by operation.")                                                          \
    X(OP_TICKET_UNSEAL, "farkey_keyd_requests_total", "op=\"ticket-unseal\"", COUNTER,             \
      "Requests received, by operation.")                                                          \
    X(OP_TICKET_KEYS, "farkey_keyd_requests_total", "op=\"ticket-keys\"", COUNTER,                 \
      "Requests received, by operation.")                                                          \
    X(OP_INFO, "farkey_keyd_requests_total", "op=\"info\"", COUNTER,                               \
      "Requests received, by operation.")                                                          \
    X(OP_PING, "farkey_keyd_requests_total", "op=\"ping\"", COUNTER,                               \
      "Requests received, by operation.")                                                          \
    X(OP_SHARE, "farkey_keyd_requests_total", "op=\"share\"", COUNTER,                             \
      "Requests received, by operation.")                                                          \
    X(OP_HANDSHAKE, "farkey_keyd_requests_total", "op=\"handshake-open\"", COUNTER,                \
      "Requests received, by operation.")                                                          \
    X(OP_HANDSHAKE_DATA, "farkey_keyd_requests_total", "op=\"handshake-data\"", COUNTER,           \
      "Requests received, by operation.")                                                          \
    X(OP_DIALECT1, "farkey_keyd_requests_total", "op=\"dialect1\"", COUNTER,                       \
      "Requests received, by operation.")                                                          \
    X(OP_OTHER, "farkey_keyd_requests_total", "op=\"other\"", COUNTER,                             \
      "Requests received, by operation.")                                                          \
    X(RESULT_OK, "farkey_keyd_results_total", "result=\"ok\"", COUNTER, "Answers, by result.")     \
    X(RESULT_FORMAT, "farkey_keyd_results_total", "result=\"malformed\"", COUNTER,                 \
      "Answers, by result.")                                                                       \
    X(RESULT_NO_KEY, "farkey_keyd_results_total", "result=\"no-key\"", COUNTER,                    \
      "Answers, by result.")                                                                       \
    X(RESULT_DENIED, "farkey_keyd_results_total", "result=\"denied\"", COUNTER,                    \
      "Answers, by result.")                                                                       \
    X(RESULT_RATE, "farkey_keyd_results_total", "result=\"rate\"", COUNTER, "Answers, by result.") \
    X(RESULT_FAILED, "farkey_keyd_results_total", "result=\"failed\"", COUNTER,                    \
      "Answers, by result.")                                                                       \
    X(SHARES_OK, "farkey_keyd_shares_total", "result=\"ok\"", COUNTER,                             \
      "Shares of split keys that other key servers were asked for, by result.")                    \
    X(SHARES_FAILED, "farkey_keyd_shares_total", "result=\"failed\"", COUNTER,                     \
      "Shares of split keys that other key servers were asked for, by result.")                    \
    X(SECONDS, "farkey_keyd_request_seconds", NULL, HISTOGRAM,                                     \
      "From the arrival of a key operation to its answer.")                                        \
    X(OUTSTANDING, "farkey_keyd_outstanding", NULL, GAUGE, "Key operations under way.")            \
    X(STALLS, "farkey_keyd_stalls_total", NULL, COUNTER,                                           \
      "Times that a channel was read no further for having too much under way.")                   \
    X(AUDIT_PENDING, "farkey_keyd_audit_pending_lines", NULL, GAUGE,                               \
      "Audit lines that are not in the log yet.")                                                  \
    X(AUDIT_LOST, "farkey_keyd_audit_lost_lines", NULL, GAUGE, "Audit lines lost.")                \
    X(KEYS, "farkey_keyd_keys", NULL, GAUGE, "Keys served.")                                       \
    X(GENERATION, "farkey_keyd_generation", NULL, GAUGE, "Configuration served.")

enum fk_keyd_metric {
#define FK_KEYD_METRIC_ID(id, name, labels, kind, help) FK_KEYD_##id,
    FK_KEYD_METRICS(FK_KEYD_METRIC_ID)
#undef FK_KEYD_METRIC_ID
};

extern const struct fk_metric fk_keyd_metric_table[];

#endif
