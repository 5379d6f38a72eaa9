/* Frames in, frames out: see wire.h. */
#include "edge/wire.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/text.h"
#include "edge/metrics.h"
#include "edge/wiretables.h"
#include "edge/wiretls.h"
#include "inline/flow_mode.h"
#include "inline/pktio.h"
#include "loop/sock.h"
#include "tls/record.h"

#include <stdlib.h>
#include <string.h>

struct fk_wire {
    struct fk_wiretls_env tls;
    void (*idle)(void *arg);
    void *arg;
    int fds[FK_PKTIO_SOCKETS]; /* until there is `io` */
    struct fk_pktio *io;
    struct fk_io readers[2]; /* by side */
    struct fk_io routers[2]; /* by side: what they say */
    struct fk_box *box;
    struct fk_arena *arena;
    struct fk_timer timer;
    struct fk_timer settle; /* draining: looks again whether all have ended */
    struct fk_metrics *metrics;
    uint64_t told[FK_INLINE_METRIC_COUNT]; /* of what the metrics have already */
    uint16_t ports[FK_BOX_PORTS_MAX];
    bool draining;
};

/* --- counters --- */

static void tell(struct fk_wire *wire, unsigned id, uint64_t value)
{
    fk_metric_add(wire->metrics, id, value - wire->told[id]);
    wire->told[id] = value;
}

static void tell_counters(struct fk_wire *wire)
{
    const uint64_t *flow = fk_box_flow_counters(wire->box), *box = fk_box_counters(wire->box);

    for (unsigned i = 0; i < FK_FLOW_N_COUNT; i++)
        tell(wire, FK_INLINE_FLOW + i, flow[i]);
    for (unsigned i = 0; i < FK_BOX_N_COUNT; i++)
        tell(wire, FK_INLINE_BOX + i, box[i]);
    tell(wire, FK_INLINE_LOST, fk_pktio_lost(wire->io));
    tell(wire, FK_INLINE_OUTBOX, fk_box_dropped(wire->box));
    fk_metric_set(wire->metrics, FK_INLINE_FLOWS_NOW, fk_box_busy(wire->box));
}

/* --- sending, and time --- */

static void send_packets(struct fk_wire *wire)
{
    const struct fk_outbox_packet *packet;
    const struct fk_link *link;

    for (size_t i = 0; (packet = fk_box_packet(wire->box, i, &link)) != NULL; i++)
        fk_pktio_send(wire->io, packet, link);
    fk_pktio_flush(wire->io);
    fk_box_sent(wire->box);
}

static void set_timer(struct fk_wire *wire)
{
    uint64_t due = fk_box_deadline(wire->box), now = fk_clock_us();

    if (due == UINT64_MAX)
        fk_timer_stop(&wire->timer);
    else
        fk_timer_start(&wire->timer, due > now ? due - now + 1 : 1);
}

/* After anything has happened to the box. */
static void finish(struct fk_wire *wire)
{
    send_packets(wire);
    set_timer(wire);
    tell_counters(wire);
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_wire *wire = fk_container(timer, struct fk_wire, timer);

    fk_box_expire(wire->box, fk_clock_us());
    finish(wire);
}

static void on_wake(void *arg, struct fk_flow *flow)
{
    struct fk_wire *wire = arg;

    fk_box_wake(wire->box, flow, fk_clock_us());
    finish(wire);
}

/* --- frames --- */

static bool read_some(struct fk_wire *wire, enum fk_inline_side side)
{
    const struct fk_pktio_frame *frames;
    size_t n = fk_pktio_read(wire->io, side, &frames);
    uint64_t now = fk_clock_us();

    for (size_t i = 0; i < n; i++) {
        if (fk_box_frame(wire->box, &frames[i].frame, now) == FK_BOX_PASS)
            fk_pktio_pass(wire->io, &frames[i]);
        if (fk_box_is_full(wire->box))
            send_packets(wire);
    }
    fk_pktio_done(wire->io, side);
    send_packets(wire);
    return n == FK_PKTIO_BATCH;
}

static void read_side(struct fk_wire *wire, enum fk_inline_side side)
{
    for (unsigned round = 0; round < FK_PKTIO_ROUNDS && read_some(wire, side); round++)
        continue;
    set_timer(wire);
    tell_counters(wire);
}

static void on_client(struct fk_io *io, unsigned events)
{
    (void)events;
    read_side(fk_container(io, struct fk_wire, readers[FK_INLINE_CLIENT]), FK_INLINE_CLIENT);
}

static void on_server(struct fk_io *io, unsigned events)
{
    (void)events;
    read_side(fk_container(io, struct fk_wire, readers[FK_INLINE_SERVER]), FK_INLINE_SERVER);
}

static void read_told(struct fk_wire *wire, enum fk_inline_side side)
{
    const struct fk_pktio_frame *frames;
    size_t n = fk_pktio_read_told(wire->io, side, &frames);

    for (size_t i = 0; i < n; i++)
        if (fk_box_told(wire->box, &frames[i].frame, fk_clock_us()) == FK_BOX_PASS)
            fk_pktio_pass(wire->io, &frames[i]);
    finish(wire);
}

static void on_told_client(struct fk_io *io, unsigned events)
{
    (void)events;
    read_told(fk_container(io, struct fk_wire, routers[FK_INLINE_CLIENT]), FK_INLINE_CLIENT);
}

static void on_told_server(struct fk_io *io, unsigned events)
{
    (void)events;
    read_told(fk_container(io, struct fk_wire, routers[FK_INLINE_SERVER]), FK_INLINE_SERVER);
}

/* --- life --- */

static void on_settle(struct fk_timer *timer)
{
    struct fk_wire *wire = fk_container(timer, struct fk_wire, settle);

    if (fk_wire_idle(wire))
        wire->idle(wire->arg);
    else
        fk_timer_start(timer, FK_WIRE_SETTLE_US);
}

int fk_wire_new(struct fk_loop *loop, void (*idle)(void *arg), void *arg, struct fk_wire **ret)
{
    struct fk_wire *wire = calloc(1, sizeof *wire);

    if (wire == NULL)
        return FK_ERR_NOMEM;
    fk_wiretls_env_init(&wire->tls, loop);
    wire->tls.wake = on_wake;
    wire->tls.arg = wire;
    wire->idle = idle;
    wire->arg = arg;
    for (unsigned i = 0; i < FK_PKTIO_SOCKETS; i++)
        wire->fds[i] = -1;
    fk_timer_init(&wire->timer, loop, on_timer);
    fk_timer_init(&wire->settle, loop, on_settle);
    *ret = wire;
    return FK_OK;
}

void fk_wire_free(struct fk_wire *wire)
{
    if (wire == NULL)
        return;
    fk_timer_stop(&wire->timer);
    fk_timer_stop(&wire->settle);
    for (unsigned i = 0; wire->io != NULL && i < 2; i++) {
        fk_io_want(&wire->readers[i], 0);
        fk_io_want(&wire->routers[i], 0);
    }
    fk_box_free(wire->box);
    fk_arena_free(wire->arena);
    fk_pktio_free(wire->io);
    for (unsigned i = 0; wire->io == NULL && i < FK_PKTIO_SOCKETS; i++)
        fk_close(&wire->fds[i]);
    fk_gen_unref(wire->tls.gen);
    free(wire);
}

void fk_wire_count(struct fk_wire *wire, struct fk_metrics *metrics)
{
    wire->metrics = wire->tls.metrics = metrics;
}

bool fk_wire_has(const struct fk_wire *wire, unsigned which)
{
    return which < FK_PKTIO_SOCKETS && wire->fds[which] >= 0;
}

int fk_wire_add(struct fk_wire *wire, unsigned which, int fd)
{
    if (which >= FK_PKTIO_SOCKETS || wire->fds[which] >= 0) {
        fk_close(&fd);
        return FK_ERR_RANGE;
    }
    wire->fds[which] = fd;
    return FK_OK;
}

/* --- serving --- */

static const struct fk_flow_mode *const modes[] = {
    [FK_WIRE_BUFFERED] = &fk_flow_buffered,
    [FK_WIRE_STREAMING] = &fk_flow_streaming,
    [FK_WIRE_HYBRID] = &fk_flow_hybrid,
    [FK_WIRE_MAC_DECIDES] = &fk_flow_mac_decides,
};

static void describe(struct fk_wire *wire, const struct fk_edge_conf *root, struct fk_box_conf *ret)
{
    const struct fk_edge_wire *conf = fk_edge_wire(root);

    *ret = (struct fk_box_conf){
        .flow = {.tls = &fk_wiretls_ops,
                 .tls_arg = &wire->tls,
                 .arena = wire->arena,
                 .mode = modes[conf->mode],
                 .pass_non_tls = conf->non_tls == FK_WIRE_PASS,
                 .accept_truncation = conf->accept_truncation,
                 .gso_max = FK_WIRE_GSO,
                 .partial_sums = true},
        .ports = wire->ports,
        .n_ports = conf->ports.count,
        .half_open_max = fk_edge_limits(root)->half_open,
    };
    for (size_t i = 0; i < conf->ports.count; i++) {
        uint64_t port = 0;

        (void)fk_text_u64(conf->ports.items[i], strlen(conf->ports.items[i]), &port);
        wire->ports[i] = (uint16_t)port; /* as the configuration's check found */
    }
}

/* With the first configuration: what cannot be made then is not made later either. */
static int begin(struct fk_wire *wire, const struct fk_edge_conf *root)
{
    static fk_io_cb *const callbacks[] = {on_client, on_server};
    static fk_io_cb *const told[] = {on_told_client, on_told_server};
    size_t flows = fk_edge_limits(root)->connections;
    struct fk_box_conf conf;
    int err;

    if ((err = fk_record_arena_new(flows, &wire->arena)) != FK_OK)
        return err;
    describe(wire, root, &conf);
    if ((err = fk_box_new(&conf, flows, &wire->box)) != FK_OK ||
        (err = fk_pktio_new(wire->fds, &wire->io)) != FK_OK)
        return err;
    for (unsigned side = 0; side < 2; side++) {
        fk_io_init(&wire->readers[side], wire->tls.loop, wire->fds[FK_PKTIO_READ_CLIENT + side],
                   callbacks[side]);
        fk_io_init(&wire->routers[side], wire->tls.loop, wire->fds[FK_PKTIO_TOLD_CLIENT + side],
                   told[side]);
        fk_io_want(&wire->readers[side], FK_IO_READ);
        fk_io_want(&wire->routers[side], FK_IO_READ);
    }
    return FK_OK;
}

int fk_wire_serve(struct fk_wire *wire, struct fk_gen *gen)
{
    struct fk_box_conf conf;
    int err;

    if (wire->io == NULL && (err = begin(wire, gen->root)) != FK_OK)
        return err;
    describe(wire, gen->root, &conf);
    fk_box_configure(wire->box, &conf);
    fk_gen_unref(wire->tls.gen);
    wire->tls.gen = fk_gen_ref(gen);
    return FK_OK;
}

void fk_wire_drain(struct fk_wire *wire)
{
    wire->draining = true;
    if (wire->box != NULL)
        fk_box_drain(wire->box);
    fk_timer_start(&wire->settle, FK_WIRE_SETTLE_US);
}

bool fk_wire_idle(const struct fk_wire *wire)
{
    return wire->box == NULL || fk_box_busy(wire->box) == 0;
}

void fk_wire_resume(struct fk_wire *wire)
{
    fk_wiretls_resume(&wire->tls);
}

int fk_wire_tell_tables(const struct fk_wire *wire, int control, uint32_t arg)
{
    return fk_wiretables_send(control, arg, wire->box);
}
