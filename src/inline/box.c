/* The table of flows and their time: see box.h. */
#include "inline/box.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/list.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* A wheel of slots: coarse, as every timer of a flow is 200 ms at least. Who is due behind its
 * horizon is looked at once a turn. */
#define TICK_US 4096
#define SLOTS   1024

/* Whose a flow is: addresses and ports, in the tag's VLAN. No padding: it is compared as bytes. */
struct key {
    uint8_t client[16], server[16];
    uint16_t client_port, server_port;
    uint16_t vlan; /* as it stands in the tag; 0: none */
    uint16_t version;
};

struct entry {
    struct entry *next; /* of its bucket */
    struct key key;
    struct fk_flow *flow;    /* NULL: it passes as it is, until `until` */
    struct fk_link links[2]; /* of packets to this side */
    struct fk_list wheel;
    uint64_t due; /* when the wheel has it */
    uint64_t until;
    uint64_t rest_at; /* when what it only needs while it is busy is given back; 0: it has been */
    struct fk_list half_open; /* of the box, in order of age; else on no list */
    struct fk_list all;
    bool busy;
};

struct fk_box {
    struct fk_box_conf conf;
    uint64_t flow_counters[FK_FLOW_N_COUNT];
    uint64_t counters[FK_BOX_N_COUNT];
    size_t flows_max, flows, half_open, busy;
    bool draining;
    uint64_t secret[2];
    size_t mask; /* of the buckets */
    struct entry **buckets;
    struct fk_list entries;      /* all */
    struct fk_list half_opens;   /* the oldest first */
    struct fk_list wheel[SLOTS]; /* by (due / TICK_US) % SLOTS */
    uint64_t tick;               /* the first that has not been looked at */
    uint64_t next;               /* nobody is due before */
    struct fk_outbox out;
    struct fk_link links[FK_BOX_PACKETS]; /* of the packets of `out` */
    size_t linked;
};

static void count(struct fk_box *box, enum fk_box_counter counter)
{
    box->counters[counter]++;
}

/* --- life --- */

static int make_memory(struct fk_box *box)
{
    size_t buckets = 64;

    while (buckets < 2 * box->flows_max)
        buckets *= 2;
    box->mask = buckets - 1;
    box->buckets = calloc(buckets, sizeof *box->buckets);
    box->out.mem = malloc(FK_BOX_OUT);
    box->out.size = FK_BOX_OUT;
    box->out.packets = calloc(FK_BOX_PACKETS, sizeof *box->out.packets);
    box->out.max = FK_BOX_PACKETS;
    return box->buckets == NULL || box->out.mem == NULL || box->out.packets == NULL ? FK_ERR_NOMEM
                                                                                    : FK_OK;
}

int fk_box_new(const struct fk_box_conf *conf, size_t flows_max, struct fk_box **ret)
{
    struct fk_box *box = calloc(1, sizeof *box);
    int err;

    if (box == NULL)
        return FK_ERR_NOMEM;
    box->conf = *conf;
    box->flows_max = flows_max;
    box->next = UINT64_MAX;
    fk_list_init(&box->entries);
    fk_list_init(&box->half_opens);
    for (size_t i = 0; i < SLOTS; i++)
        fk_list_init(&box->wheel[i]);
    err = make_memory(box);
    if (err == FK_OK && getrandom(box->secret, sizeof box->secret, 0) != sizeof box->secret)
        err = FK_ERR_SYS;
    if (err != FK_OK) {
        fk_box_free(box);
        return err;
    }
    *ret = box;
    return FK_OK;
}

void fk_box_configure(struct fk_box *box, const struct fk_box_conf *conf)
{
    box->conf = *conf;
}

void fk_box_drain(struct fk_box *box)
{
    box->draining = true;
}

/* --- the table --- */

/* Keyed, since clients choose what is hashed: each word is mixed by a product of 128 bits. */
static size_t hash(const struct fk_box *box, const struct key *key)
{
    uint64_t words[sizeof *key / 8], h = box->secret[0];

    static_assert(sizeof *key == 40, "no padding");
    memcpy(words, key, sizeof words);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        __extension__ unsigned __int128 wide =
            (unsigned __int128)(h ^ words[i]) * (box->secret[1] | 1);

        h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
    }
    return (size_t)h & box->mask;
}

static struct entry **place(const struct fk_box *box, const struct key *key)
{
    struct entry **at = &box->buckets[hash(box, key)];

    while (*at != NULL && memcmp(&(*at)->key, key, sizeof *key) != 0)
        at = &(*at)->next;
    return at;
}

static void not_half_open(struct fk_box *box, struct entry *entry)
{
    if (fk_list_empty(&entry->half_open))
        return;
    fk_list_del(&entry->half_open);
    box->half_open--;
}

static void set_busy(struct fk_box *box, struct entry *entry, bool busy)
{
    if (entry->busy == busy)
        return;
    entry->busy = busy;
    if (busy)
        box->busy++;
    else
        box->busy--;
}

static void forget(struct fk_box *box, struct entry *entry)
{
    struct entry **at = place(box, &entry->key);

    *at = entry->next;
    fk_list_del(&entry->wheel);
    fk_list_del(&entry->all);
    not_half_open(box, entry);
    set_busy(box, entry, false);
    fk_flow_free(entry->flow);
    free(entry);
    box->flows--;
}

void fk_box_free(struct fk_box *box)
{
    struct fk_list *item;

    if (box == NULL)
        return;
    while ((item = fk_list_pop(&box->entries)) != NULL)
        forget(box, fk_container(item, struct entry, all));
    free(box->buckets);
    free(box->out.mem);
    free(box->out.packets);
    free(box);
}

/* --- time --- */

static void schedule(struct fk_box *box, struct entry *entry, uint64_t now, uint64_t due)
{
    uint64_t horizon = now + (uint64_t)(SLOTS - 2) * TICK_US, at;

    at = due < horizon ? due : horizon;
    if (!fk_list_empty(&entry->wheel) && entry->due <= at)
        return;                  /* it is looked at in time, and then again */
    if (box->next == UINT64_MAX) /* nobody is on it: it begins anew */
        box->tick = now / TICK_US;
    if (at / TICK_US < box->tick)
        at = box->tick * TICK_US;
    fk_list_del(&entry->wheel);
    fk_list_append(&box->wheel[at / TICK_US % SLOTS], &entry->wheel);
    entry->due = at;
    if (at < box->next)
        box->next = at;
}

/* What moves a flow may have it make ciphers' contexts. */
static void stir(struct entry *entry, uint64_t now)
{
    entry->rest_at = now + FK_BOX_REST_US;
}

static void rest(struct entry *entry, uint64_t now)
{
    if (entry->rest_at == 0 || now < entry->rest_at)
        return;
    fk_flow_rest(entry->flow);
    entry->rest_at = 0;
}

static uint64_t due_at(const struct entry *entry)
{
    uint64_t due = fk_flow_deadline(entry->flow);

    return entry->rest_at != 0 && entry->rest_at < due ? entry->rest_at : due;
}

/* Packets that the entry's flow has made since, and what has become of it. */
static void settle(struct fk_box *box, struct entry *entry, uint64_t now)
{
    enum fk_flow_state state = fk_flow_state(entry->flow);

    for (; box->linked < box->out.n; box->linked++)
        box->links[box->linked] = entry->links[box->out.packets[box->linked].to];
    if (state == FK_FLOW_GONE) {
        forget(box, entry);
        return;
    }
    if (state != FK_FLOW_SYN && state != FK_FLOW_SYNACK)
        not_half_open(box, entry);
    set_busy(box, entry, state != FK_FLOW_OVER && state != FK_FLOW_RESET);
    schedule(box, entry, now, due_at(entry));
}

static void expire(struct fk_box *box, struct entry *entry, uint64_t now)
{
    fk_list_del(&entry->wheel);
    if (entry->flow == NULL && now >= entry->until) {
        forget(box, entry);
    } else if (entry->flow == NULL) {
        schedule(box, entry, now, entry->until);
    } else {
        fk_flow_expire(entry->flow, now, &box->out);
        rest(entry, now);
        settle(box, entry, now);
    }
}

/* A slot is looked at when its time is over. */
uint64_t fk_box_deadline(const struct fk_box *box)
{
    return box->next == UINT64_MAX ? UINT64_MAX : (box->next / TICK_US + 1) * TICK_US;
}

/* The next slot with somebody in it. */
static uint64_t look_ahead(const struct fk_box *box)
{
    for (uint64_t tick = box->tick; tick < box->tick + SLOTS; tick++)
        if (!fk_list_empty(&box->wheel[tick % SLOTS]))
            return tick * TICK_US;
    return UINT64_MAX;
}

void fk_box_expire(struct fk_box *box, uint64_t now)
{
    uint64_t last = now / TICK_US;

    if (now < box->next)
        return;
    while (box->tick < last) {
        struct fk_list *slot = &box->wheel[box->tick++ % SLOTS], due, *item;

        if (fk_list_empty(slot))
            continue;
        due = *slot; /* whoever is due again goes to a later slot */
        due.next->prev = due.prev->next = &due;
        fk_list_init(slot);
        while (!fk_list_empty(&due) && !fk_box_is_full(box)) {
            item = due.next;
            expire(box, fk_container(item, struct entry, wheel), now);
        }
        if (fk_list_empty(&due))
            continue;
        while ((item = fk_list_pop(&due)) != NULL)
            fk_list_append(slot, item);
        box->next = --box->tick * TICK_US;
        return;
    }
    box->next = look_ahead(box);
}

void fk_box_wake(struct fk_box *box, struct fk_flow *flow, uint64_t now)
{
    fk_flow_wake(flow, now, &box->out);
    stir(fk_flow_owner(flow), now);
    settle(box, fk_flow_owner(flow), now);
}

/* --- new flows --- */

static struct entry *make_entry(struct fk_box *box, const struct key *key)
{
    struct entry *entry = calloc(1, sizeof *entry), **at;

    if (entry == NULL)
        return NULL;
    entry->key = *key;
    fk_list_init(&entry->wheel);
    fk_list_init(&entry->half_open);
    fk_list_append(&box->entries, &entry->all);
    at = place(box, key);
    *at = entry;
    box->flows++;
    return entry;
}

/* Its segments are signed: it cannot be translated. */
static struct entry *bypass(struct fk_box *box, const struct key *key, uint64_t now)
{
    struct entry *entry = make_entry(box, key);

    if (entry == NULL)
        return NULL;
    count(box, FK_BOX_N_BYPASSED);
    entry->until = now + FK_BOX_BYPASS_US;
    schedule(box, entry, now, entry->until);
    return entry;
}

/* Room for one more, made by forgetting one that was not answered if there is such a one: whoever
 * sends SYNs only displaces others of that kind. */
static bool make_room(struct fk_box *box)
{
    bool full = box->flows >= box->flows_max, half = box->half_open >= box->conf.half_open_max;

    if ((full || half) && !fk_list_empty(&box->half_opens)) {
        count(box, FK_BOX_N_HALF_OPEN_FULL);
        forget(box, fk_container(box->half_opens.next, struct entry, half_open));
        full = false;
    }
    return !full;
}

/* NULL: there will be none. */
static struct entry *begin(struct fk_box *box, const struct key *key, const struct fk_ip *ip,
                           const struct fk_tcp *tcp, uint64_t now)
{
    struct fk_flow *flow;
    struct entry *entry;
    int err;

    if (box->draining) {
        count(box, FK_BOX_N_WAITING);
        return NULL;
    }
    if (!make_room(box)) {
        count(box, FK_BOX_N_FLOWS_FULL);
        return NULL;
    }
    err = fk_flow_new(&box->conf.flow, box->flow_counters, ip, tcp, &flow);
    if (err == FK_ERR_UNSUPPORTED)
        return bypass(box, key, now);
    entry = err == FK_OK ? make_entry(box, key) : NULL;
    if (entry == NULL) {
        count(box, err == FK_ERR_INVAL ? FK_BOX_N_MALFORMED : FK_BOX_N_FLOWS_FULL);
        if (err == FK_OK)
            fk_flow_free(flow);
        return NULL;
    }
    entry->flow = flow;
    fk_flow_set_owner(flow, entry);
    fk_list_append(&box->half_opens, &entry->half_open);
    box->half_open++;
    count(box, FK_BOX_N_FLOWS);
    return entry;
}

/* --- frames --- */

static struct fk_link turned(const struct fk_link *link)
{
    struct fk_link back = *link;

    memcpy(back.bytes, link->bytes + 6, 6);
    memcpy(back.bytes + 6, link->bytes, 6);
    return back;
}

/* RFC 9293 section 3.5.2: what belongs to no connection. */
static void refuse(struct fk_box *box, const struct fk_box_frame *frame, const struct fk_ip *ip,
                   const struct fk_tcp *tcp)
{
    struct fk_link link = turned(&frame->link);

    count(box, FK_BOX_N_UNKNOWN);
    if ((tcp->flags & FK_TCP_RST) != 0)
        return;
    fk_flow_refuse(frame->from, ip, tcp, &box->out);
    for (; box->linked < box->out.n; box->linked++)
        box->links[box->linked] = link;
}

static bool is_opening(const struct fk_box_frame *frame, const struct fk_tcp *tcp)
{
    return frame->from == FK_INLINE_CLIENT &&
           (tcp->flags & (FK_TCP_SYN | FK_TCP_ACK | FK_TCP_RST)) == FK_TCP_SYN;
}

/* Whether a SYN begins another connection of the same addresses and ports: RFC 9293 section
 * 3.10.7.4, for those that are over, and for those that nobody answered. */
static bool is_anew(const struct entry *entry, const struct fk_tcp *tcp)
{
    enum fk_flow_state state;

    if (entry->flow == NULL)
        return true;
    state = fk_flow_state(entry->flow);
    if (state == FK_FLOW_SYN)
        return fk_flow_isn(entry->flow, FK_INLINE_CLIENT) != tcp->seq;
    return state == FK_FLOW_OVER || state == FK_FLOW_RESET;
}

static bool is_protected(const struct fk_box *box, const struct fk_box_frame *frame,
                         const struct fk_tcp *tcp)
{
    uint16_t port = frame->from == FK_INLINE_CLIENT ? tcp->dst_port : tcp->src_port;

    for (size_t i = 0; i < box->conf.n_ports; i++)
        if (box->conf.ports[i] == port)
            return true;
    return false;
}

static enum fk_box_verdict drop(struct fk_box *box, enum fk_box_counter counter)
{
    count(box, counter);
    return FK_BOX_DONE;
}

static enum fk_box_verdict pass(struct fk_box *box)
{
    count(box, FK_BOX_N_PASSED);
    return FK_BOX_PASS;
}

static enum fk_box_verdict take(struct fk_box *box, const struct fk_box_frame *frame,
                                const struct key *key, const struct fk_ip *ip,
                                const struct fk_tcp *tcp, uint64_t now)
{
    struct entry *entry = *place(box, key);
    bool opening = is_opening(frame, tcp);

    if (entry != NULL && opening && is_anew(entry, tcp)) {
        forget(box, entry);
        entry = NULL;
    }
    if (entry == NULL && !is_protected(box, frame, tcp))
        return pass(box);
    if (entry == NULL && opening && (entry = begin(box, key, ip, tcp, now)) == NULL)
        return FK_BOX_DONE;
    if (entry == NULL) {
        refuse(box, frame, ip, tcp);
        return FK_BOX_DONE;
    }
    if (entry->flow == NULL) {
        entry->until = now + FK_BOX_BYPASS_US;
        return FK_BOX_PASS;
    }
    entry->links[fk_inline_other(frame->from)] = frame->link;
    if (entry->links[frame->from].len == 0)
        entry->links[frame->from] = turned(&frame->link);
    fk_flow_packet(entry->flow, frame->from, ip, tcp, now, &box->out);
    stir(entry, now);
    settle(box, entry, now);
    return FK_BOX_DONE;
}

static struct key key_of(const struct fk_box_frame *frame, const struct fk_ip *ip,
                         const struct fk_tcp *tcp)
{
    bool up = frame->from == FK_INLINE_CLIENT;
    struct key key = {.version = ip->version};

    memcpy(key.client, up ? ip->src : ip->dst, sizeof key.client);
    memcpy(key.server, up ? ip->dst : ip->src, sizeof key.server);
    key.client_port = up ? tcp->src_port : tcp->dst_port;
    key.server_port = up ? tcp->dst_port : tcp->src_port;
    if (frame->link.len == FK_LINK_MAX)
        memcpy(&key.vlan, frame->link.bytes + 14, sizeof key.vlan);
    return key;
}

static bool is_ip(const struct fk_link *link)
{
    const uint8_t *type = link->bytes + link->len - 2;

    return (type[0] == 0x08 && type[1] == 0x00) || (type[0] == 0x86 && type[1] == 0xdd);
}

/* --- routers --- */

/* What a router's message quotes, as a frame of the side that sent it would have it. FK_ERR_* as
 * fk_icmp_too_big_parse(). */
struct quoted {
    struct fk_icmp_too_big too_big;
    struct fk_box_frame frame;
    struct fk_tcp tcp;
    struct key key;
};

static int read_quoted(const struct fk_box_frame *frame, const struct fk_ip *ip, struct quoted *ret)
{
    struct fk_icmp_too_big *too_big = &ret->too_big;
    struct fk_ip head = {.version = ip->version};
    int err;

    if ((err = fk_icmp_too_big_parse(ip, too_big)) != FK_OK)
        return err;
    memcpy(head.src, too_big->src, sizeof head.src);
    memcpy(head.dst, too_big->dst, sizeof head.dst);
    ret->frame = (struct fk_box_frame){.from = fk_inline_other(frame->from), .link = frame->link};
    ret->tcp = (struct fk_tcp){.src_port = too_big->src_port, .dst_port = too_big->dst_port};
    ret->key = key_of(&ret->frame, &head, &ret->tcp);
    return FK_OK;
}

enum fk_box_verdict fk_box_told(struct fk_box *box, const struct fk_box_frame *frame, uint64_t now)
{
    struct quoted quoted;
    struct entry *entry;
    struct fk_ip ip;

    if (fk_ip_parse(frame->packet, frame->len, &ip) != FK_OK ||
        read_quoted(frame, &ip, &quoted) != FK_OK)
        return FK_BOX_DONE;
    if ((entry = *place(box, &quoted.key)) == NULL)
        return FK_BOX_DONE;
    count(box, FK_BOX_N_TOO_BIG);
    if (entry->flow == NULL)
        return FK_BOX_PASS;
    /* The router stands where the packet went. */
    if (fk_flow_too_big(entry->flow, frame->from, &ip, &quoted.too_big, now, &box->out))
        settle(box, entry, now);
    return FK_BOX_DONE;
}

/* What is no TCP passes, but for what fk_box_told() is for. */
static enum fk_box_verdict take_other(struct fk_box *box, const struct fk_box_frame *frame,
                                      const struct fk_ip *ip)
{
    struct quoted quoted;

    if (read_quoted(frame, ip, &quoted) == FK_OK && is_protected(box, &quoted.frame, &quoted.tcp))
        return FK_BOX_DONE;
    return pass(box);
}

/* --- frames of all kinds --- */

enum fk_box_verdict fk_box_frame(struct fk_box *box, const struct fk_box_frame *frame, uint64_t now)
{
    struct fk_ip ip;
    struct fk_tcp tcp;
    struct key key;
    int err;

    if (!is_ip(&frame->link))
        return pass(box);
    err = fk_ip_parse(frame->packet, frame->len, &ip);
    if (err == FK_ERR_UNSUPPORTED) /* no transport that could be TCP's */
        return pass(box);
    if (err != FK_OK)
        return drop(box, FK_BOX_N_MALFORMED);
    if (ip.protocol != FK_IP_TCP)
        return take_other(box, frame, &ip);
    if (ip.fragment)
        return drop(box, FK_BOX_N_FRAGMENTS);
    if (fk_tcp_parse(ip.payload, &tcp) != FK_OK)
        return drop(box, FK_BOX_N_MALFORMED);
    key = key_of(frame, &ip, &tcp);
    /* A flow goes on, though its port may have been taken from the configuration since. */
    if (!is_protected(box, frame, &tcp) && (box->flows == 0 || *place(box, &key) == NULL))
        return pass(box);
    if (!frame->sum_ok && !fk_tcp_verify(&ip))
        return drop(box, FK_BOX_N_BAD_SUM);
    return take(box, frame, &key, &ip, &tcp, now);
}

/* --- what is to be sent --- */

const struct fk_outbox_packet *fk_box_packet(const struct fk_box *box, size_t i,
                                             const struct fk_link **ret_link)
{
    if (i >= box->out.n)
        return NULL;
    *ret_link = &box->links[i];
    return &box->out.packets[i];
}

void fk_box_sent(struct fk_box *box)
{
    box->out.n = box->out.used = box->linked = 0;
}

bool fk_box_is_full(const struct fk_box *box)
{
    return box->out.used > FK_BOX_OUT / 2 || box->out.n > FK_BOX_PACKETS / 2;
}

size_t fk_box_flows(const struct fk_box *box)
{
    return box->flows;
}

size_t fk_box_busy(const struct fk_box *box)
{
    return box->busy;
}

uint64_t fk_box_dropped(const struct fk_box *box)
{
    return box->out.dropped;
}

const uint64_t *fk_box_flow_counters(const struct fk_box *box)
{
    return box->flow_counters;
}

const uint64_t *fk_box_counters(const struct fk_box *box)
{
    return box->counters;
}

struct fk_flow *fk_box_next(const struct fk_box *box, const struct fk_flow *flow)
{
    const struct fk_list *at = &box->entries;

    if (flow != NULL)
        at = &((struct entry *)fk_flow_owner(flow))->all;
    for (at = at->next; at != &box->entries; at = at->next) {
        const struct entry *entry =
            fk_container((struct fk_list *)(uintptr_t)at, struct entry, all);

        if (entry->flow != NULL)
            return entry->flow;
    }
    return NULL;
}
