/* The applications of the simulator, and what they must have got: see inlinesim.h. */
#include "inlinesim_priv.h"

#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#define HELLO_MAX  700
#define ANSWER_MAX 5000

/* --- the applications' streams --- */

/* The client's data as records of any size; then close_notify. */
static void seal_all(struct sim_peer *client)
{
    size_t done = 0, len, sealed;
    struct iovec piece;

    while (done < sim.conf->up) {
        len = 1 + sim_pick(sim_pick(3) == 0 ? FK_RECORD_PLAIN_MAX : 700);
        len = len < sim.conf->up - done ? len : sim.conf->up - done;
        piece = (struct iovec){sim.up + done, len};
        assert_ok(fk_record_seal(sim.client, &piece, 1, client->out + client->out_len,
                                 SIM_STREAM - client->out_len, &sealed));
        client->out_len += sealed;
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
        bytes[i] = (uint8_t)sim_pick(256);
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

/* What arrived is the beginning of what was sent, always; all of it, when done. */
void sim_judge(struct sim_result *ret)
{
    struct sim_peer *client = &sim.peers[FK_INLINE_CLIENT], *server = &sim.peers[FK_INLINE_SERVER];
    const uint8_t *down = sim.conf->plain ? client->in : sim.opened;
    size_t n_down = sim.conf->plain ? client->next : sim.n_opened;

    assert_true(server->next <= sim.conf->up && n_down <= sim.conf->down);
    assert_memory_equal(server->in, sim.up, server->next);
    assert_memory_equal(down, sim.down, n_down);
    ret->reset = client->reset || server->reset;
    ret->done = !ret->reset && client->fin_seen && client->next == client->fin_at &&
                server->fin_seen && server->next == server->fin_at &&
                server->next == sim.conf->up && n_down == sim.conf->down;
    ret->time = sim.now;
    ret->memory_max = sim.memory_max;
    memcpy(ret->counters, sim.counters, sizeof ret->counters);
}
