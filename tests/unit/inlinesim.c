/* The simulator's wires, box, and time: see inlinesim.h. */
#include "inlinesim_priv.h"

#include "recordends.h"
#include "unit.h"

#include "base/err.h"
#include "base/limits.h"

#include <inttypes.h>

#define TIME_MAX (2 * FK_FLOW_IDLE_US)
#define IDLE     8192 /* bytes of an idle flow at most */

struct sim_world sim;

uint32_t sim_pick(uint32_t n)
{
    sim.random ^= sim.random << 13;
    sim.random ^= sim.random >> 7;
    sim.random ^= sim.random << 17;
    return n == 0 ? 0 : (uint32_t)((sim.random >> 16) % n);
}

/* --- the back-end that shakes hands: so many bytes each way --- */

static int tls_new(void *arg, struct fk_flow *flow, void **ret)
{
    (void)flow;
    *ret = arg;
    return FK_OK;
}

static int tls_step(void *tls, const uint8_t *bytes, size_t len, size_t *ret_used)
{
    size_t left = sim.hello - sim.taken;

    (void)tls;
    (void)bytes;
    *ret_used = len < left ? len : left;
    sim.taken += *ret_used;
    return sim.taken == sim.hello ? FK_OK : FK_ERR_AGAIN;
}

static size_t tls_output(void *tls, uint8_t *out, size_t size)
{
    size_t left = sim.taken == sim.hello ? sim.answer - sim.given : 0;

    (void)tls;
    left = left < size ? left : size;
    memset(out, 'h', left);
    sim.given += left;
    return left;
}

static int tls_keys(void *tls, struct fk_session_keys *ret)
{
    (void)tls;
    *ret = sim.keys;
    return FK_OK;
}

static void tls_free(void *tls)
{
    (void)tls;
}

static const struct fk_flow_tls_ops tls_ops = {tls_new, tls_step, tls_output, tls_keys, tls_free};

/* --- wires --- */

static bool chance(unsigned rate)
{
    return rate > 0 && sim_pick(1000) < rate;
}

static void flip(uint8_t *bytes, size_t from, size_t to)
{
    uint32_t bit = sim_pick(8 * (uint32_t)(to - from));

    bytes[from + bit / 8] ^= (uint8_t)(1 << bit % 8);
}

/* Somebody in the path changes a bit of a segment, its ports excepted, and mends the checksum. */
static void forge(uint8_t *bytes, size_t len)
{
    struct fk_ip ip;
    struct fk_tcp tcp;
    size_t at;

    assert_ok(fk_ip_parse(bytes, len, &ip));
    assert_ok(fk_tcp_parse(ip.payload, &tcp));
    if ((tcp.flags & FK_TCP_SYN) != 0)
        return;
    at = len - ip.payload.left;
    flip(bytes, at + 4, len);
    memset(bytes + at + 16, 0, 2);
    fk_tcp_seal(&ip, bytes + at, len - at, false);
}

static struct sim_packet *free_packet(void)
{
    for (size_t i = 0; i < SIM_WIRE; i++)
        if (!sim.wire[i].used)
            return &sim.wire[i];
    return NULL;
}

/* For who looks at a case again: one line a packet, numbers from 0 after each SYN. */
static void trace(bool to_box, enum fk_inline_side side, const uint8_t *bytes, size_t len,
                  const char *fate)
{
    const struct sim_peer *peer = &sim.peers[side];
    struct fk_ip ip;
    struct fk_tcp tcp;

    if (!sim.traced || fk_ip_parse(bytes, len, &ip) != FK_OK ||
        fk_tcp_parse(ip.payload, &tcp) != FK_OK)
        return;
    print_message(
        "%10" PRIu64 " %s %c %c%c%c%c seq %d len %zu ack %d win %u sacks %u%s\n", sim.now,
        side == FK_INLINE_CLIENT ? "client" : "server", to_box ? '>' : '<',
        (tcp.flags & FK_TCP_SYN) != 0 ? 'S' : '-', (tcp.flags & FK_TCP_FIN) != 0 ? 'F' : '-',
        (tcp.flags & FK_TCP_RST) != 0 ? 'R' : '-', (tcp.flags & FK_TCP_ACK) != 0 ? 'A' : '-',
        (int32_t)(tcp.seq - (to_box ? peer->isn : peer->peer_isn) - 1), tcp.payload.left,
        (int32_t)(tcp.ack - (to_box ? peer->peer_isn : peer->isn) - 1), tcp.window,
        tcp.options.n_sacks, fate);
}

void sim_put_on_wire(bool to_box, enum fk_inline_side side, const uint8_t *bytes, size_t len)
{
    bool kept = sim.conf->rewrites && to_box; /* or the other bytes would be the first to come */
    struct sim_packet *packet = free_packet();

    assert_true(len <= SIM_PACKET);
    if (packet == NULL || (!kept && chance(sim.conf->loss))) {
        trace(to_box, side, bytes, len, " lost");
        return;
    }
    trace(to_box, side, bytes, len, "");
    packet->used = true;
    packet->to_box = to_box;
    packet->side = side;
    packet->len = len;
    packet->number = sim.n_sent++;
    packet->at = sim.now + (side == FK_INLINE_CLIENT ? 5000 : 300);
    if (!kept && chance(sim.conf->reorder))
        packet->at += sim_pick(8000);
    memcpy(packet->bytes, bytes, len);
    sim.n_wire++;
    if (to_box && side == FK_INLINE_CLIENT && chance(sim.conf->forge))
        forge(packet->bytes, len);
    else if (!kept && chance(sim.conf->corrupt))
        flip(packet->bytes, 0, len);
    if (chance(sim.conf->again))
        sim_put_on_wire(to_box, side, bytes, len);
}

bool sim_parse(const uint8_t *bytes, size_t len, struct fk_ip *ret_ip, struct fk_tcp *ret_tcp)
{
    if (fk_ip_parse(bytes, len, ret_ip) == FK_OK && ret_ip->protocol == FK_IP_TCP &&
        fk_tcp_verify(ret_ip) && fk_tcp_parse(ret_ip->payload, ret_tcp) == FK_OK)
        return true;
    assert_true(sim.conf->corrupt > 0 || sim.conf->forge > 0);
    return false;
}

/* --- the box --- */

static void check_times(const struct fk_outbox_packet *packet, const struct fk_tcp *tcp)
{
    if (!tcp->options.has_times || sim.conf->forge > 0)
        return;
    /* Fact 2: monotone towards each side, unless somebody makes times up. */
    assert_true(!sim.told_times[packet->to] ||
                !fk_seq_lt(tcp->options.ts_val, sim.last_times[packet->to]));
    sim.last_times[packet->to] = tcp->options.ts_val;
    sim.told_times[packet->to] = true;
}

static void check_addresses(const struct fk_outbox_packet *packet, const struct fk_ip *ip,
                            const struct fk_tcp *tcp)
{
    bool up = packet->to == FK_INLINE_SERVER;

    assert_int_equal(ip->src[0], up ? 10 : 20);
    assert_int_equal(ip->dst[0], up ? 20 : 10);
    assert_int_equal(tcp->src_port, up ? 40000 : 443);
    assert_int_equal(tcp->dst_port, up ? 443 : 40000);
}

/* What a device does: segments of a size that the packet says, each with its own checksum. */
static void cut(const struct fk_outbox_packet *packet, const struct fk_ip *ip,
                const struct fk_tcp *tcp)
{
    size_t size = packet->gso_size, header = packet->len - packet->transport - tcp->payload.left;
    struct fk_reader rest = tcp->payload;
    struct fk_tcp piece = *tcp;

    assert_true(sim.conf->device && packet->len <= 65535);
    assert_true(size == 0 || rest.left > size); /* fact 8 */
    do {
        uint8_t bytes[SIM_PACKET];
        struct fk_writer writer;
        size_t len = size > 0 && rest.left > size ? size : rest.left;

        assert_ok(fk_reader_take(&rest, len, &piece.payload));
        piece.flags = tcp->flags;
        if (rest.left > 0)
            piece.flags &= (uint16_t) ~(FK_TCP_FIN | FK_TCP_PSH);
        fk_writer_init(&writer, bytes, sizeof bytes);
        fk_ip_build(ip, header + len, &writer);
        fk_tcp_build(&piece, &writer);
        fk_writer_bytes(&writer, piece.payload.next, len);
        fk_tcp_seal(ip, bytes + packet->transport, header + len, false);
        sim_put_on_wire(false, packet->to, bytes, packet->transport + header + len);
        piece.seq += (uint32_t)len;
    } while (rest.left > 0);
}

static void deliver(struct fk_outbox *out)
{
    struct fk_ip ip;
    struct fk_tcp tcp;

    for (size_t i = 0; i < out->n; i++) {
        const struct fk_outbox_packet *packet = &out->packets[i];

        assert_ok(fk_ip_parse(packet->bytes, packet->len, &ip));
        assert_ok(fk_tcp_parse(ip.payload, &tcp));
        check_addresses(packet, &ip, &tcp);
        check_times(packet, &tcp);
        if (packet->gso_size > 0 || packet->partial_sum)
            cut(packet, &ip, &tcp);
        else
            sim_put_on_wire(false, packet->to, packet->bytes, packet->len);
    }
    out->n = out->used = 0;
}

/* Bounded always, and given back as soon as nothing is under way. */
static void check_memory(void)
{
    size_t memory;

    if (sim.flow == NULL)
        return;
    memory = fk_flow_memory(sim.flow);
    assert_true(memory <= FK_FLOW_MEMORY);
    if (fk_flow_state(sim.flow) >= FK_FLOW_OVER)
        assert_true(memory <= IDLE);
    sim.memory_max = memory > sim.memory_max ? memory : sim.memory_max;
}

static uint8_t out_mem[FK_FLOW_STORE];
static struct fk_outbox_packet out_packets[16384];

static void box(const uint8_t *bytes, size_t len, enum fk_inline_side from)
{
    struct fk_outbox out = {
        .mem = out_mem, .size = sizeof out_mem, .packets = out_packets, .max = 16384};
    struct fk_ip ip;
    struct fk_tcp tcp;

    if (bytes == NULL) {
        fk_flow_expire(sim.flow, sim.now, &out);
    } else if (sim_parse(bytes, len, &ip, &tcp)) {
        if (sim.flow == NULL && from == FK_INLINE_CLIENT)
            assert_ok(fk_flow_new(&sim.flow_conf, sim.counters, &ip, &tcp, &sim.flow));
        if (sim.flow != NULL)
            fk_flow_packet(sim.flow, from, &ip, &tcp, sim.now, &out);
    }
    deliver(&out);
    check_memory();
}

/* --- time --- */

static struct sim_packet *first_packet(void)
{
    struct sim_packet *first = NULL;

    for (size_t i = 0, seen = 0; seen < sim.n_wire; i++) {
        if (!sim.wire[i].used)
            continue;
        seen++;
        if (first == NULL || sim.wire[i].at < first->at ||
            (sim.wire[i].at == first->at && sim.wire[i].number < first->number))
            first = &sim.wire[i];
    }
    return first;
}

static void arrive(struct sim_packet *packet)
{
    uint8_t bytes[SIM_PACKET];

    memcpy(bytes, packet->bytes, packet->len);
    packet->used = false;
    sim.n_wire--;
    if (packet->to_box)
        box(bytes, packet->len, packet->side);
    else
        sim_peer_packet(&sim.peers[packet->side], bytes, packet->len);
}

/* Whatever comes next. False: nothing does. */
static bool step(void)
{
    struct sim_packet *packet = first_packet();
    uint64_t at[4] = {packet == NULL ? SIM_NEVER : packet->at, sim_peer_deadline(&sim.peers[0]),
                      sim_peer_deadline(&sim.peers[1]),
                      sim.flow == NULL ? SIM_NEVER : fk_flow_deadline(sim.flow)};
    size_t first = 0;

    for (size_t i = 1; i < 4; i++)
        if (at[i] < at[first])
            first = i;
    if (at[first] == SIM_NEVER || at[first] > TIME_MAX)
        return false;
    sim.now = at[first] > sim.now ? at[first] : sim.now;
    if (first == 0)
        arrive(packet);
    else if (first == 3)
        box(NULL, 0, FK_INLINE_CLIENT);
    else
        sim_peer_due(&sim.peers[first - 1]);
    return true;
}

/* --- a run --- */

static void world_init(const struct sim_conf *conf)
{
    memset(&sim, 0, offsetof(struct sim_world, arena));
    sim.conf = conf;
    sim.random = conf->seed * 0x9e3779b97f4a7c15 + 1;
    for (int i = 0; i < 8; i++)
        (void)sim_pick(2);
    sim.traced = getenv("FK_SIM_TRACE") != NULL;
    sim.now = 1000000;
    make_keys(conf->suite, &sim.keys);
    if (sim.arena == NULL)
        assert_ok(fk_record_arena_new(2, &sim.arena));
    assert_ok(fk_record_new(sim.arena, &sim.keys, FK_RECORD_CLIENT, &sim.client));
    sim.flow_conf = (struct fk_flow_conf){.tls = &tls_ops,
                                          .tls_arg = &sim,
                                          .arena = sim.arena,
                                          .mode = conf->mode,
                                          .pass_non_tls = conf->plain,
                                          .gso_max = conf->device ? FK_WIRE_GSO : 0,
                                          .partial_sums = conf->device};
    sim_peer_init(FK_INLINE_CLIENT);
    sim_peer_init(FK_INLINE_SERVER);
    sim_apps_init();
}

/* A flow whose SYNs got lost for too long is forgotten; the next one begins another. */
static bool is_over(void)
{
    if (sim.flow == NULL || fk_flow_state(sim.flow) != FK_FLOW_GONE)
        return false;
    if (sim.peers[FK_INLINE_CLIENT].established || sim.peers[FK_INLINE_CLIENT].reset)
        return true;
    fk_flow_free(sim.flow);
    sim.flow = NULL;
    return false;
}

void sim_run(const struct sim_conf *conf, struct sim_result *ret)
{
    world_init(conf);
    sim_peer_open(&sim.peers[FK_INLINE_CLIENT]);
    while (step() && !is_over())
        ;
    sim_judge(ret);
    for (size_t i = 0; i < SIM_WIRE && sim.n_wire > 0; i++) {
        sim.n_wire -= sim.wire[i].used;
        sim.wire[i].used = false;
    }
    fk_flow_free(sim.flow);
    fk_record_free(sim.client);
    assert_int_equal(fk_arena_used(sim.arena), 0);
}

/* --- choosing --- */

bool sim_must_end(const struct sim_conf *conf)
{
    return conf->damage > 0;
}

bool sim_may_end(const struct sim_conf *conf)
{
    return conf->lies || conf->forge > 0;
}

static void choose_wires(struct sim_conf *ret)
{
    static const unsigned rates[] = {0, 0, 5, 20, 100};

    ret->loss = rates[sim_pick(5)];
    ret->again = rates[sim_pick(5)];
    ret->reorder = rates[sim_pick(5)] * 2;
    ret->corrupt = sim_pick(4) == 0 ? rates[sim_pick(5)] : 0;
    if (ret->loss + ret->corrupt > 100) /* to those who receive they are the same */
        ret->loss = 0;
}

/* Somebody who is in the path, or has the client's keys and no manners. */
static void choose_attack(struct sim_conf *ret)
{
    switch (sim_pick(12)) {
    case 0:
        ret->damage = 1 + sim_pick(60000);
        break;
    case 1:
        ret->lies = true;
        break;
    case 2:
        ret->forge = 1 + sim_pick(100);
        break;
    case 3:
    case 4:
    case 5:
        ret->rewrites = true;
        break;
    default:
        break;
    }
}

/* Most windows are no matter, some are of a few segments, and some of a few bytes. */
static uint32_t choose_window(bool scale)
{
    uint32_t kind = sim_pick(12), window = 65535;

    if (kind < 3)
        window = 1 + sim_pick(3000);
    else if (kind == 3)
        window = 1 + sim_pick(4);
    return scale ? window | 16 : window; /* less than a unit could not be said */
}

static void choose_sizes(struct sim_conf *ret)
{
    uint32_t most = sim_pick(64) == 0 ? 60000 : sim_pick(8) == 0 ? 8000 : 1500;

    ret->up = 1 + sim_pick(most);
    ret->down = 1 + sim_pick(most);
    ret->client_window = choose_window(ret->scale);
    ret->server_window = choose_window(ret->scale);
    if (ret->client_window <= 3000) /* small records: much overhead */
        ret->down = 1 + ret->down % 1500;
    if (ret->client_window < 200 || ret->server_window < 200) {
        ret->slow_read = false;
        ret->up = 1 + ret->up % 60;
        ret->down = 1 + ret->down % 60;
    }
    if (sim_pick(10) == 0) {
        ret->tiny = true;
        ret->rewrites = false;
        ret->up = 1 + ret->up % 200;
        ret->down = 1 + ret->down % 200;
    }
}

/* Records that are longer than what the mode buffers, and than a segment of the server's. */
static void choose_early(struct sim_conf *ret)
{
    if (ret->mode->whole_max == SIZE_MAX || ret->tiny || ret->server_window < 200 ||
        sim_pick(3) == 0)
        return;
    ret->server_mss = (uint16_t)(88 + sim_pick(400));
    ret->up = ret->mode->whole_max + sim_pick(2000);
}

void sim_choose(uint64_t seed, struct sim_conf *ret)
{
    static const uint32_t suites[] = {0x1301, 0x1303, 0xc02f, 0xcca8};
    static const struct fk_flow_mode *const modes[] = {&fk_flow_buffered, &fk_flow_streaming,
                                                       &fk_flow_hybrid, &fk_flow_mac_decides};

    sim.random = seed * 0xda942042e4dd58b5 + 99;
    for (int i = 0; i < 8; i++)
        (void)sim_pick(2);
    *ret = (struct sim_conf){
        .seed = seed,
        .suite = suites[sim_pick(4)],
        .mode = modes[seed % 4],
        .zeros = sim_pick(8) == 0,
        .pads = sim_pick(8) == 0,
        .client_isn = sim_pick(2) == 0 ? 0u - sim_pick(3000) : sim_pick(UINT32_MAX),
        .server_isn = sim_pick(2) == 0 ? 0u - sim_pick(3000) : sim_pick(UINT32_MAX),
        .client_mss = (uint16_t)(sim_pick(3) == 0 ? 88 + sim_pick(400) : 1460),
        .server_mss = (uint16_t)(sim_pick(3) == 0 ? 88 + sim_pick(400) : 1460),
        .times = sim_pick(2) == 0,
        .sack = sim_pick(2) == 0,
        .scale = sim_pick(2) == 0,
        .v6 = sim_pick(2) == 0,
        .slow_read = sim_pick(8) == 0,
        .device = sim_pick(2) == 0,
    };
    choose_wires(ret);
    if (sim_pick(10) == 0)
        ret->plain = true;
    else
        choose_attack(ret);
    choose_sizes(ret);
    choose_early(ret);
}
