/* Tables of the box's flows as JSON: see wiretables.h. */
#include "edge/wiretables.h"

#include "admin/command.h"
#include "base/err.h"
#include "base/limits.h"
#include "edge/wiretls.h"
#include "tls/session_keys.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const fk_wiretable_words[FK_WIRETABLE_COUNT] = {
#define WORD(id, word) word,
    FK_WIRETABLES(WORD)
#undef WORD
};

/* What one walk over the flows has found. */
struct walk {
    json_t *rows[FK_WIRETABLE_COUNT]; /* NULL: not asked for */
    json_int_t left_out;
};

/* --- parts of rows --- */

static const char *is_there(bool there)
{
    return there ? "present" : "absent";
}

static void name_address(const struct fk_flow *flow, enum fk_inline_side side,
                         char ret[INET6_ADDRSTRLEN])
{
    const struct fk_ip *ip = fk_flow_ip(flow, side);

    if (inet_ntop(ip->version == 4 ? AF_INET : AF_INET6, ip->src, ret, INET6_ADDRSTRLEN) == NULL)
        ret[0] = '\0';
}

static const char *name_session(const struct fk_wiretls_info *info, char ret[17])
{
    for (size_t i = 0; i < sizeof info->session; i++)
        snprintf(ret + 2 * i, 3, "%02x", info->session[i]);
    return ret;
}

/* The ends of a connection, as rows of all tables begin. */
static json_t *row_of(const struct fk_flow *flow)
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];

    name_address(flow, FK_INLINE_CLIENT, source);
    name_address(flow, FK_INLINE_SERVER, destination);
    return json_pack("{s:s, s:i, s:s, s:i}", "source", source, "source_port",
                     (int)fk_flow_port(flow, FK_INLINE_CLIENT), "destination", destination,
                     "destination_port", (int)fk_flow_port(flow, FK_INLINE_SERVER));
}

/* --- rows --- */

/* Table I. The master secret is gone with the handshake: keys are what is left of it. */
static json_t *session_row(const struct fk_flow *flow, const struct fk_wiretls_info *info)
{
    const struct fk_session_keys *keys = fk_flow_keys(flow);
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN], name[17];
    const char *mac = keys != NULL && keys->suite->mac != NULL ? keys->suite->mac : "AEAD";

    name_address(flow, FK_INLINE_CLIENT, source);
    name_address(flow, FK_INLINE_SERVER, destination);
    return json_pack("{s:s, s:s, s:s?, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s?, s:i}", "session",
                     name_session(info, name), "site", info->site, "sni", info->sni, "version",
                     info->version, "cipher", info->cipher, "mac", mac, "source", source,
                     "destination", destination, "master_secret", is_there(false), "expires",
                     (json_int_t)(info->expires_us / 1000000), "client_certificate", info->client,
                     "connections", 1);
}

/* Whether the client's last record has been verified, or more of it is waited for. */
static const char *mac_state(const struct fk_session_keys *keys,
                             const struct fk_flow_stream *client)
{
    if (keys == NULL)
        return "none";
    return client->record > 0 ? "waiting" : "verified";
}

/* Table II. */
static json_t *connection_row(const struct fk_flow *flow, const struct fk_wiretls_info *info)
{
    const struct fk_session_keys *keys = fk_flow_keys(flow);
    bool key = keys != NULL, mac = key && keys->suite->mac_len > 0;
    bool iv = key && keys->suite->iv_len > 0;
    struct fk_flow_stream client;
    json_t *row = row_of(flow), *more;
    char name[17];

    fk_flow_stream(flow, FK_INLINE_CLIENT, &client);
    more = json_pack("{s:s?, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "session",
                     info == NULL ? NULL : name_session(info, name), "state",
                     fk_flow_state_name(fk_flow_state(flow)), "server_key", is_there(key),
                     "server_mac_key", is_there(mac), "client_key", is_there(key), "client_mac_key",
                     is_there(mac), "server_iv", is_there(iv), "client_iv", is_there(iv),
                     "sequence", (json_int_t)client.seq, "ack", (json_int_t)client.ack, "window",
                     (json_int_t)client.window, "mac_state", mac_state(keys, &client));
    if (row != NULL && more != NULL)
        json_object_update(row, more);
    json_decref(more);
    return row;
}

/* Table III. */
static json_t *queue_row(const struct fk_flow *flow, enum fk_inline_side side,
                         const struct fk_flow_queued *queued)
{
    json_t *row = row_of(flow);

    if (row == NULL)
        return NULL;
    json_object_set_new(row, "from", json_string(side == FK_INLINE_CLIENT ? "client" : "server"));
    json_object_set_new(row, "sequence", json_integer((json_int_t)queued->range.start));
    json_object_set_new(row, "bytes",
                        json_integer((json_int_t)(queued->range.end - queued->range.start)));
    json_object_set_new(row, "q_state",
                        json_string(queued->state == FK_FLOW_HOLD ? "hold" : "ready"));
    return row;
}

/* --- the walk --- */

void fk_wiretables_add(json_t *rows, json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "session"));
    json_t *known;

    if (json_is_array(rows)) {
        json_array_append_new(rows, row);
        return;
    }
    if ((known = name == NULL ? NULL : json_object_get(rows, name)) == NULL) {
        json_object_set_new(rows, name == NULL ? "" : name, row);
        return;
    }
    json_object_set_new(known, "connections",
                        json_integer(json_integer_value(json_object_get(known, "connections")) +
                                     json_integer_value(json_object_get(row, "connections"))));
    json_decref(row);
}

json_t *fk_wiretables_rows(enum fk_wiretable table)
{
    return table == FK_WIRETABLE_SESSIONS ? json_object() : json_array();
}

/* A row more, or its place is not there. */
static void add(struct walk *walk, enum fk_wiretable table, json_t *row)
{
    json_t *rows = walk->rows[table];
    size_t n = json_is_array(rows) ? json_array_size(rows) : json_object_size(rows);

    if (n < FK_WIRE_ROWS_MAX && row != NULL) {
        fk_wiretables_add(rows, row);
        return;
    }
    json_decref(row);
    walk->left_out++;
}

static void add_queue(struct walk *walk, const struct fk_flow *flow)
{
    struct fk_flow_queued queued[FK_WIRE_PIECES_MAX];

    for (enum fk_inline_side side = FK_INLINE_CLIENT; side <= FK_INLINE_SERVER; side++) {
        size_t n = fk_flow_queue(flow, side, FK_WIRE_PIECES_MAX, queued);

        for (size_t i = 0; i < n; i++)
            add(walk, FK_WIRETABLE_QUEUE, queue_row(flow, side, &queued[i]));
    }
}

static void add_flow(struct walk *walk, const struct fk_flow *flow)
{
    const struct fk_wiretls_info *info = fk_wiretls_info(fk_flow_tls(flow));

    if (walk->rows[FK_WIRETABLE_SESSIONS] != NULL && info != NULL)
        add(walk, FK_WIRETABLE_SESSIONS, session_row(flow, info));
    if (walk->rows[FK_WIRETABLE_CONNECTIONS] != NULL)
        add(walk, FK_WIRETABLE_CONNECTIONS, connection_row(flow, info));
    if (walk->rows[FK_WIRETABLE_QUEUE] != NULL)
        add_queue(walk, flow);
}

static json_t *tables_of(const struct fk_box *box, unsigned which)
{
    json_t *json = json_object();
    struct walk walk = {.left_out = 0};
    struct fk_flow *flow = NULL;

    for (unsigned i = 0; i < FK_WIRETABLE_COUNT; i++)
        if ((which & 1u << i) != 0) {
            walk.rows[i] = fk_wiretables_rows((enum fk_wiretable)i);
            json_object_set_new(json, fk_wiretable_words[i], walk.rows[i]); /* borrowed from here */
        }
    while (box != NULL && (flow = fk_box_next(box, flow)) != NULL)
        add_flow(&walk, flow);
    json_object_set_new(json, "left_out", json_integer(walk.left_out));
    return json;
}

int fk_wiretables_send(int control, uint32_t arg, const struct fk_box *box)
{
    json_t *json = tables_of(box, arg & ((1u << FK_WIRETABLE_COUNT) - 1));
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    int err;

    json_decref(json);
    if (text == NULL)
        return FK_ERR_NOMEM;
    err = fk_admin_answer(control, arg, text, strlen(text));
    free(text);
    return err == FK_ERR_AGAIN ? FK_OK : err;
}
