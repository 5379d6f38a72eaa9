/* The applications of the simulator, and what they must have got: see inlinesim.h. */
#include "inlinesim_priv.h"

#include "tls/record_priv.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#define HELLO_MAX  700
#define ANSWER_MAX 5000

/* --- the applications' streams --- */

/* TLS 1.3: content, its type, zeros (RFC 8446 section 5.4); the engine adds the last of them. */
static size_t pad(const uint8_t *bytes, size_t len, uint8_t *out)
{
    size_t zeros = sim_pick(600);

    if (len + zeros > FK_RECORD_PLAIN_MAX - 1)
        zeros = 0;
    memcpy(out, bytes, len);
    out[len] = FK_CONTENT_APPLICATION;
    memset(out + len + 1, 0, zeros);
    return len + 1 + zeros;
}

static void seal_one(struct sim_peer *client, const uint8_t *bytes, size_t len)
{
    uint8_t inner[FK_RECORD_PLAIN_MAX + 1];
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    struct fk_pieces pieces = {.first = &piece};
    uint8_t *at = client->out + client->out_len;
    size_t sealed;

    if (sim.conf->pads && sim.keys.suite->version == FK_TLS13 && len < FK_RECORD_PLAIN_MAX) {
        piece = (struct iovec){inner, pad(bytes, len, inner)};
        assert_ok(fk_record_encrypt(sim.client, 0, &pieces, piece.iov_len, at, &sealed));
    } else {
        assert_ok(fk_record_seal(sim.client, &piece, 1, at, SIM_STREAM - client->out_len, &sealed));
    }
    client->out_len += sealed;
}

/* The client's data as records of any size; then close_notify. */
static void seal_all(struct sim_peer *client)
{
    size_t done = 0, len, sealed;

    while (done < sim.conf->up) {
        len = sim.conf->record;
        if (len == 0)
            len = 1 + sim_pick(sim_pick(3) == 0 ? FK_RECORD_PLAIN_MAX : 700);
        len = len < sim.conf->up - done ? len : sim.conf->up - done;
        seal_one(client, sim.up + done, len);
        done += len;
        if (sim_pick(40) == 0)
            (void)fk_record_update_keys(sim.client, true);
    }
    fk_record_close(sim.client);
    assert_ok(fk_record_seal_control(sim.client, client->out + client->out_len, &sealed));
    client->out_len += sealed;
    if (sim.conf->damage > 0)
        client->out[sim.hello + sim.conf->damage % (client->out_len - sim.hello)] ^= 1;
    client->closing = true;
    sim.sealed = true;
    client->app_at = sim.now;
}

/* More of what an application has is given to TCP. */
void sim_app_write(struct sim_peer *peer)
{
    peer->avail += 1 + sim_pick(sim_pick(2) == 0 ? 100 : 30000);
    if (sim.conf->record > 0)
        peer->avail = peer->out_len;
    peer->app_at = sim.now + sim_pick(3000);
    if (peer->avail >= peer->out_len) {
        peer->avail = peer->out_len;
        peer->app_at = SIM_NEVER;
    }
    sim_peer_push(peer);
}

/* The client opens a record. False: none is there whole. */
static bool open_next(struct sim_peer *client)
{
    uint8_t copy[FK_FLOW_RECORD];
    struct fk_opened opened;
    size_t len = client->next - sim.parsed;
    int err;

    if (len < FK_RECORD_HEAD || fk_record_length(client->in + sim.parsed, len) > len)
        return false;
    len = fk_record_length(client->in + sim.parsed, len);
    assert_true(len <= sizeof copy);
    memcpy(copy, client->in + sim.parsed, len);
    err = fk_record_open(sim.client, copy, len, &opened);
    if (err == FK_ERR_TLS) {
        sim.client_end = true;
        return false;
    }
    assert_ok(err);
    if (opened.event == FK_RECORD_DATA) {
        memcpy(sim.opened + sim.n_opened, opened.data, opened.len);
        sim.n_opened += opened.len;
    }
    sim.client_end = opened.event == FK_RECORD_END;
    sim.parsed += opened.consumed;
    return true;
}

void sim_app_read(struct sim_peer *peer)
{
    if (sim.conf->slow_read && sim.now < peer->read_at)
        return;
    peer->read_at = sim.now + 20000 + sim_pick(50000);
    peer->read = peer->next;
    if (peer->side == FK_INLINE_SERVER || sim.conf->plain || peer->next < sim.answer)
        return;
    if (!sim.sealed)
        seal_all(peer);
    sim.parsed = sim.parsed < sim.answer ? sim.answer : sim.parsed;
    while (!sim.client_end && open_next(peer))
        ;
}

/* --- what they have to say --- */

static void fill(uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = sim.conf->zeros && sim_pick(8) != 0 ? 0 : (uint8_t)sim_pick(256);
}

void sim_apps_init(void)
{
    const struct sim_conf *conf = sim.conf;
    struct sim_peer *client = &sim.peers[FK_INLINE_CLIENT], *server = &sim.peers[FK_INLINE_SERVER];

    fill(sim.up, conf->up);
    fill(sim.down, conf->down);
    sim.hello = 1 + sim_pick(HELLO_MAX);
    sim.answer = 1 + sim_pick(conf->client_window < 200 ? 100 : ANSWER_MAX);
    if (conf->plain) {
        sim.up[0] = 'G';
        sim.sealed = client->closing = true;
        memcpy(client->out, sim.up, client->out_len = conf->up);
    } else {
        memset(client->out, FK_CONTENT_HANDSHAKE, client->out_len = sim.hello);
    }
    memcpy(server->out, sim.down, server->out_len = conf->down);
    server->closing = true;
    client->app_at = server->app_at = sim.now;
}

/* --- judging --- */

/* Whether the server may get bytes that nobody has verified: then it gets a RST, too. */
static bool unverified(void)
{
    return sim.conf->mode != NULL && sim.conf->mode->whole_max < FK_FLOW_RECORD &&
           (sim_must_end(sim.conf) || sim_may_end(sim.conf));
}

/* What arrived is the beginning of what was sent, always; all of it, when done. */
void sim_judge(struct sim_result *ret)
{
    struct sim_peer *client = &sim.peers[FK_INLINE_CLIENT], *server = &sim.peers[FK_INLINE_SERVER];
    const uint8_t *down = sim.conf->plain ? client->in : sim.opened;
    size_t n_down = sim.conf->plain ? client->next : sim.n_opened;

    ret->reset = client->reset || server->reset;
    assert_true(n_down <= sim.conf->down);
    assert_memory_equal(down, sim.down, n_down);
    if (!ret->reset || !unverified()) {
        assert_true(server->next <= sim.conf->up);
        assert_memory_equal(server->in, sim.up, server->next);
    }
    ret->done = !ret->reset && client->fin_seen && client->next == client->fin_at &&
                server->fin_seen && server->next == server->fin_at &&
                server->next == sim.conf->up && n_down == sim.conf->down;
    ret->time = sim.now;
    ret->memory_max = sim.memory_max;
    ret->arrived = server->next;
    ret->arrived_at = server->next_at;
    memcpy(ret->counters, sim.counters, sizeof ret->counters);
}
