/*
 * The trust graph of the key server: which processes there are, what each is told, and who is wired
 * to whom. Two tables say it; all else here follows them.
 *
 * A signer is wired when it has said that it serves, and only while its keys are those in service.
 * Any other child is wired to those that are up when it starts.
 */
#include "keyd/master_priv.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "keyd/metrics.h"
#include "loop/sock.h"
#include "signer/signer.h"

#include "admin/admin.h"
#include "admin/command.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int start_signer(struct fk_keyd_master *master, struct fk_child *child);
static int start_front(struct fk_keyd_master *master, struct fk_child *child);
static int start_audit(struct fk_keyd_master *master, struct fk_child *child);
static int start_admin(struct fk_keyd_master *master, struct fk_child *child);
static int start_handshaker(struct fk_keyd_master *master, struct fk_child *child);
static int start_token(struct fk_keyd_master *master, struct fk_child *child);
static int start_asker(struct fk_keyd_master *master, struct fk_child *child);

/* What each role is: its name as a process and for people, what others call it, how it is started.
 */
static const struct {
    const char *name;
    const char *word; /* for operators */
    unsigned peer;    /* enum fk_proc_peer, 0: nobody's peer */
    int (*start)(struct fk_keyd_master *master, struct fk_child *child);
} roles[FK_KEYD_ROLES] = {
    [FK_KEYD_SIGNER] = {"signer", "signer", FK_PEER_SIGNER, start_signer},
    [FK_KEYD_FRONT] = {"keyd-front", "front", FK_PEER_FRONT, start_front},
    [FK_KEYD_AUDIT] = {"keyd-audit", "audit process", FK_PEER_AUDIT, start_audit},
    [FK_KEYD_ADMIN] = {"admin", "admin process", 0, start_admin},
    [FK_KEYD_HANDSHAKER] = {"keyd-handshaker", "handshaker", FK_PEER_HANDSHAKER, start_handshaker},
    [FK_KEYD_TOKEN] = {"token", "token's process", FK_PEER_TOKEN, start_token},
    [FK_KEYD_ASKER] = {"keyd-asker", "asker", FK_PEER_ASKER, start_asker},
};

/* Who may talk to whom. A pair that is not here has no way to. */
static const struct {
    enum fk_keyd_role a, b;
} wires[] = {
    {FK_KEYD_FRONT, FK_KEYD_SIGNER},      {FK_KEYD_FRONT, FK_KEYD_AUDIT},
    {FK_KEYD_AUDIT, FK_KEYD_SIGNER},      {FK_KEYD_FRONT, FK_KEYD_HANDSHAKER},
    {FK_KEYD_HANDSHAKER, FK_KEYD_SIGNER}, {FK_KEYD_FRONT, FK_KEYD_TOKEN},
    {FK_KEYD_FRONT, FK_KEYD_ASKER},
};

static bool may_talk(enum fk_keyd_role a, enum fk_keyd_role b)
{
    for (size_t i = 0; i < sizeof wires / sizeof wires[0]; i++)
        if ((wires[i].a == a && wires[i].b == b) || (wires[i].a == b && wires[i].b == a))
            return true;
    return false;
}

/* Whether a child is there to be wired to. */
static bool is_available(const struct fk_keyd_master *master, const struct fk_child *child)
{
    const struct fk_keyd_place *place = fk_keyd_place(child);

    if (!place->up || fk_child_retired(child))
        return false;
    if (place->role == FK_KEYD_TOKEN)
        return place->ready;
    return place->role != FK_KEYD_SIGNER || (place->ready && master->current != NULL &&
                                             place->generation == master->current->generation);
}

static int send_end(struct fk_child *to, const struct fk_child *other, int fd)
{
    const struct fk_keyd_place *place = fk_keyd_place(other);
    unsigned index = place->role == FK_KEYD_TOKEN ? place->token : fk_child_index(other);

    return fk_child_send_fd(to, FK_PROC_PEER, roles[place->role].peer << 16 | index, fd);
}

/* One socketpair, an end each. */
static int wire_pair(struct fk_child *a, struct fk_child *b)
{
    int fds[2], err;

    if ((err = fk_sock_pair(SOCK_STREAM, fds)) != FK_OK)
        return err;
    if ((err = send_end(a, b, fds[0])) == FK_OK)
        err = send_end(b, a, fds[1]);
    fk_close(&fds[0]);
    fk_close(&fds[1]);
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "processes not connected", fk_str("one", fk_child_role(a)),
               fk_str("other", fk_child_role(b)), fk_error(err));
    return err;
}

/* Wire a child to everybody that it may talk to and that is there; `only` roles as a bit set. */
static int wire_child(struct fk_keyd_master *master, struct fk_child *child, unsigned only)
{
    enum fk_keyd_role role = fk_keyd_place(child)->role;
    struct fk_child *other = NULL;
    int err = FK_OK;

    while (err == FK_OK && (other = fk_super_next(master->super, other)) != NULL) {
        enum fk_keyd_role others = fk_keyd_place(other)->role;

        if (other != child && (only & 1U << others) != 0 && may_talk(role, others) &&
            is_available(master, other))
            err = wire_pair(child, other);
    }
    return err;
}

#define ALL ((1U << FK_KEYD_ROLES) - 1)

/* --- what each role is told at its start --- */

static int send_go(struct fk_child *child, const char *user)
{
    struct fk_procmsg msg = {.type = FK_PROC_GO};

    msg.len = geteuid() == 0 ? strlen(user) : 0;
    assert(msg.len <= FK_NAME_MAX); /* fk_users_check() */
    memcpy(msg.data, user, msg.len);
    fk_keyd_place(child)->up = true;
    return fk_child_send(child, &msg);
}

static int send_metrics(struct fk_child *child, int metrics_fd, int quota_fd, const char *role)
{
    struct fk_procmsg msg = {
        .type = FK_PROC_METRICS, .arg = fk_child_index(child), .n_fds = 1, .fds = {metrics_fd}};

    if (quota_fd >= 0)
        msg.fds[msg.n_fds++] = quota_fd;
    if (role != NULL) {
        msg.len = strlen(role);
        memcpy(msg.data, role, msg.len);
    }
    return fk_child_send(child, &msg);
}

static const struct fk_keyd_load *load_of(const struct fk_keyd_master *master,
                                          const struct fk_keyd_place *place)
{
    if (master->current != NULL && master->current->generation == place->generation)
        return master->current;
    if (master->pending != NULL && master->pending->generation == place->generation)
        return master->pending;
    return NULL;
}

static int start_signer(struct fk_keyd_master *master, struct fk_child *child)
{
    const struct fk_keyd_load *load = load_of(master, fk_keyd_place(child));
    int err;

    if (load == NULL)
        return FK_ERR_NOT_FOUND;
    if ((err = fk_child_send_fd(child, FK_PROC_KEYS, load->generation,
                                fk_store_keys_fd(load->store))) != FK_OK ||
        (err = send_metrics(child, master->signer_metrics_fd, -1, NULL)) != FK_OK ||
        (err = fk_keyd_roots_send(master, child, load)) != FK_OK)
        return err;
    return send_go(child, load->conf->signer_user);
}

static int start_token(struct fk_keyd_master *master, struct fk_child *child)
{
    const struct fk_store_token *token = fk_keyd_token_of(master, fk_keyd_place(child));
    int err;

    if (token == NULL)
        return FK_ERR_NOT_FOUND;
    if ((err = fk_child_send_fd(child, FK_PROC_KEYS, token->number, token->fd)) != FK_OK ||
        (err = send_metrics(child, master->token_metrics_fd, -1, NULL)) != FK_OK)
        return err;
    return send_go(child, token->user);
}

/* Configuration and listeners: at the start, and before a change. */
static int send_set(struct fk_child *child, const struct fk_keyd_load *load,
                    const struct fk_keyd_sockets *sockets)
{
    int err = fk_child_send_fd(child, FK_PROC_CONFIG, load->generation, load->bundle_fd);

    for (size_t i = 0; err == FK_OK && i < sockets->n_listens; i++)
        err = fk_child_send_fd(child, FK_PROC_LISTEN, (uint32_t)i, sockets->listens[i].fd);
    return err;
}

/* For fronts with their listeners, for others without. */
static int send_pending(const struct fk_keyd_master *master, struct fk_child *child)
{
    if (fk_keyd_place(child)->role == FK_KEYD_FRONT)
        return send_set(child, master->pending, &master->pending_sockets);
    return fk_child_send_fd(child, FK_PROC_CONFIG, master->pending->generation,
                            master->pending->bundle_fd);
}

static void prepare_child(struct fk_keyd_master *master, struct fk_child *child)
{
    uint32_t generation = master->pending->generation;
    int err;

    fk_keyd_place(child)->asked = generation;
    if ((err = send_pending(master, child)) == FK_OK)
        err = fk_child_send_fd(child, FK_PROC_PREPARE, generation, -1);
    if (err != FK_OK) /* it is going, or time will tell */
        fk_log(FK_LOG_WARN, "cannot tell a process of a configuration",
               fk_str("role", fk_child_role(child)), fk_error(err));
}

static unsigned wanted(const struct fk_keyd_conf *conf, enum fk_keyd_role role);
static struct fk_child *find_child(const struct fk_keyd_master *master, enum fk_keyd_role role,
                                   unsigned index);

/* Whether processes that fronts pass requests to have not been started yet. */
static bool lacks_helpers(const struct fk_keyd_master *master)
{
    static const enum fk_keyd_role helpers[] = {FK_KEYD_HANDSHAKER, FK_KEYD_ASKER};

    for (size_t r = 0; r < sizeof helpers / sizeof helpers[0]; r++)
        for (unsigned i = 0; i < wanted(master->current->conf, helpers[r]); i++) {
            const struct fk_child *child = find_child(master, helpers[r], i);

            if (child == NULL || !fk_keyd_place(child)->up)
                return true;
        }
    return false;
}

static int begin_front(struct fk_keyd_master *master, struct fk_child *child)
{
    int err;

    fk_keyd_place(child)->held = false;
    if ((err = send_set(child, master->current, &master->sockets)) != FK_OK ||
        (err = wire_child(master, child, ALL)) != FK_OK ||
        (err = send_go(child, master->current->conf->user)) != FK_OK)
        return err;
    if (master->preparing)
        prepare_child(master, child);
    return FK_OK;
}

/* At the start of all, edges are let in when what they may ask for has somewhere to wait. */
static int start_front(struct fk_keyd_master *master, struct fk_child *child)
{
    int err = send_metrics(child, master->metrics_fd, master->quota_fd, NULL);

    if (err != FK_OK)
        return err;
    fk_keyd_place(child)->held = !master->served && lacks_helpers(master);
    return fk_keyd_place(child)->held ? FK_OK : begin_front(master, child);
}

/* One more of those that fronts wait for has been started. */
static void release_fronts(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    if (lacks_helpers(master))
        return;
    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->held && fk_child_pid(child) != 0 &&
            begin_front(master, child) != FK_OK) {
            fk_log(FK_LOG_ERROR, "process not started", fk_str("role", fk_child_role(child)));
            (void)kill(fk_child_pid(child), SIGKILL); /* to be started again */
        }
}

static int start_handshaker(struct fk_keyd_master *master, struct fk_child *child)
{
    int err;

    if ((err = fk_keyd_sessions_send(master, child)) != FK_OK ||
        (err = fk_keyd_tickets_send(master, child)) != FK_OK ||
        (err = fk_child_send_fd(child, FK_PROC_CONFIG, master->current->generation,
                                master->current->bundle_fd)) != FK_OK ||
        (err = wire_child(master, child, ALL)) != FK_OK ||
        (err = send_go(child, master->current->conf->user)) != FK_OK)
        return err;
    if (master->preparing)
        prepare_child(master, child);
    release_fronts(master);
    return FK_OK;
}

static int start_asker(struct fk_keyd_master *master, struct fk_child *child)
{
    int err;

    if ((err = fk_child_send_fd(child, FK_PROC_CONFIG, master->current->generation,
                                master->current->bundle_fd)) != FK_OK ||
        (err = wire_child(master, child, ALL)) != FK_OK ||
        (err = send_go(child, master->current->conf->user)) != FK_OK)
        return err;
    if (master->preparing)
        prepare_child(master, child);
    release_fronts(master);
    return FK_OK;
}

static int start_audit(struct fk_keyd_master *master, struct fk_child *child)
{
    int err;

    if ((err = send_metrics(child, master->audit_metrics_fd, -1, NULL)) != FK_OK ||
        (err = fk_keyd_audit_send(master, child)) != FK_OK ||
        (err = wire_child(master, child, ALL)) != FK_OK)
        return err;
    return send_go(child, master->current->conf->user);
}

static int start_admin(struct fk_keyd_master *master, struct fk_child *child)
{
    int err;

    if ((err = send_metrics(child, master->metrics_fd, -1, "keyd")) == FK_OK &&
        (err = send_metrics(child, master->signer_metrics_fd, -1, "signer")) == FK_OK)
        err = send_metrics(child, master->audit_metrics_fd, -1, "audit");
    if (err == FK_OK)
        err = send_metrics(child, master->token_metrics_fd, -1, "token");

    if (err == FK_OK && master->sockets.http.fd >= 0)
        err = fk_child_send_fd(child, FK_PROC_LISTEN, FK_ADMIN_HTTP, master->sockets.http.fd);
    if (err == FK_OK)
        err = fk_child_send_fd(child, FK_PROC_LISTEN, FK_ADMIN_CONTROL, master->sockets.control.fd);
    if (err == FK_OK)
        err = fk_admin_send_token(child, master->current->admin_token);
    return err == FK_OK ? send_go(child, master->current->conf->user) : err;
}

/* --- how many there are --- */

int fk_keyd_add_child(struct fk_keyd_master *master, const struct fk_keyd_place *place,
                      unsigned index)
{
    struct fk_keyd_place *copy = malloc(sizeof *copy);
    const char *name = roles[place->role].name;
    struct fk_child *child;
    int err;

    if (copy == NULL)
        return FK_ERR_NOMEM;
    *copy = *place;
    err = fk_super_add(master->super, name, index, copy, &child);
    if (err != FK_OK) {
        free(copy);
        fk_log(FK_LOG_ERROR, "process not added", fk_str("role", name), fk_error(err));
    }
    return err;
}

static int add_child(struct fk_keyd_master *master, enum fk_keyd_role role, unsigned index,
                     uint32_t generation)
{
    const struct fk_keyd_place place = {.role = role, .generation = generation};

    return fk_keyd_add_child(master, &place, index);
}

static unsigned processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    if (count < 1)
        return 1;
    return count > FK_KEYD_CHILDREN_MAX ? FK_KEYD_CHILDREN_MAX : (unsigned)count;
}

/* Whether any edge may have handshakes made. */
static bool needs_handshakers(const struct fk_keyd_conf *conf)
{
    for (const struct fk_conf_block *b = conf->edges; b != NULL; b = b->next)
        if ((((const struct fk_keyd_edge_conf *)(const void *)b)->allow & FK_PERM_HANDSHAKE) != 0)
            return true;
    return false;
}

/* How many of a role a configuration wants. */
static unsigned wanted(const struct fk_keyd_conf *conf, enum fk_keyd_role role)
{
    switch (role) {
    case FK_KEYD_SIGNER:
        return conf->signers != 0 ? (unsigned)conf->signers : processors();
    case FK_KEYD_FRONT:
        return conf->fronts != 0 ? (unsigned)conf->fronts : (processors() + 3) / 4;
    case FK_KEYD_AUDIT:
        return conf->audit != NULL;
    case FK_KEYD_ADMIN:
        return 1;
    case FK_KEYD_HANDSHAKER:
        if (conf->handshakers != 0)
            return (unsigned)conf->handshakers;
        return needs_handshakers(conf) ? (processors() + 1) / 2 : 0;
    case FK_KEYD_ASKER:
        return conf->keyservers != NULL;
    case FK_KEYD_TOKEN: /* tokens.c */
    case FK_KEYD_ROLES:
        break;
    }
    return 0;
}

int fk_keyd_add_signers(struct fk_keyd_master *master, const struct fk_keyd_load *load)
{
    unsigned count = wanted(load->conf, FK_KEYD_SIGNER);
    int err = FK_OK;

    for (unsigned i = 0; err == FK_OK && i < count; i++)
        err = add_child(master, FK_KEYD_SIGNER, i, load->generation);
    return err;
}

static struct fk_child *find_child(const struct fk_keyd_master *master, enum fk_keyd_role role,
                                   unsigned index)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == role && fk_child_index(child) == index &&
            !fk_child_retired(child))
            return child;
    return NULL;
}

unsigned fk_keyd_drain_seconds(const struct fk_keyd_master *master)
{
    return (unsigned)((fk_keyd_conf_limits(master->current->conf)->drain + 999999) / 1000000);
}

void fk_keyd_adjust_children(struct fk_keyd_master *master)
{
    /* Fronts behind those that they pass requests to. */
    static const enum fk_keyd_role serving[] = {FK_KEYD_AUDIT, FK_KEYD_HANDSHAKER, FK_KEYD_ASKER,
                                                FK_KEYD_FRONT, FK_KEYD_ADMIN};

    for (size_t r = 0; r < sizeof serving / sizeof serving[0]; r++) {
        unsigned count = wanted(master->current->conf, serving[r]);
        struct fk_child *child;

        for (unsigned i = 0; i < count; i++)
            if (find_child(master, serving[r], i) == NULL)
                (void)add_child(master, serving[r], i, 0);
        for (unsigned i = count; (child = find_child(master, serving[r], i)) != NULL; i++)
            fk_super_retire(child, fk_keyd_drain_seconds(master));
    }
}

/* --- changes --- */

/* Whether a role changes from set to set in place. */
static bool changes_over(enum fk_keyd_role role)
{
    return role == FK_KEYD_FRONT || role == FK_KEYD_HANDSHAKER || role == FK_KEYD_ASKER;
}

static bool is_running_front(const struct fk_child *child)
{
    const struct fk_keyd_place *place = fk_keyd_place(child);

    return changes_over(place->role) && place->up && !fk_child_retired(child);
}

void fk_keyd_prepare_fronts(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (is_running_front(child))
            prepare_child(master, child);
}

void fk_keyd_forget_fronts(struct fk_keyd_master *master, uint32_t generation)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (is_running_front(child) && fk_keyd_place(child)->asked == generation)
            (void)fk_child_send_fd(child, FK_PROC_FORGET, 0, -1);
}

bool fk_keyd_fronts_prepared(const struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;
    unsigned n = 0;

    while ((child = fk_super_next(master->super, child)) != NULL) {
        if (!is_running_front(child))
            continue;
        if (fk_keyd_place(child)->prepared != master->pending->generation)
            return false;
        n++;
    }
    return n > 0;
}

/* Those that came with the generation in service: a front has the others already. */
static int wire_new_tokens(struct fk_keyd_master *master, struct fk_child *front)
{
    struct fk_child *child = NULL;
    int err = FK_OK;

    while (err == FK_OK && (child = fk_super_next(master->super, child)) != NULL) {
        const struct fk_keyd_place *place = fk_keyd_place(child);

        if (place->role == FK_KEYD_TOKEN && place->generation == master->current->generation &&
            is_available(master, child))
            err = wire_pair(front, child);
    }
    return err;
}

void fk_keyd_switch_fronts(struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL) {
        struct fk_keyd_place *place = fk_keyd_place(child);

        if (!is_available(master, child))
            continue;
        if (place->role == FK_KEYD_AUDIT)
            (void)wire_child(master, child, 1U << FK_KEYD_SIGNER);
        if (!changes_over(place->role))
            continue;
        place->ready = false;
        /* A handshaker tells by its set whose the signers are: hs_main.c. */
        if (place->role != FK_KEYD_FRONT)
            (void)send_go(child, "");
        if (wire_child(master, child, 1U << FK_KEYD_SIGNER) == FK_OK &&
            place->role == FK_KEYD_FRONT && wire_new_tokens(master, child) == FK_OK)
            (void)send_go(child, "");
    }
}

void fk_keyd_retire_signers(struct fk_keyd_master *master, uint32_t generation, bool others)
{
    /* They end as soon as no front needs them any more: a handshake may have two steps to go. */
    const unsigned handshakes = 2 * (FK_HANDLE_LIFE_US / 1000000) + 1;
    unsigned seconds = fk_keyd_drain_seconds(master);
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL) {
        const struct fk_keyd_place *place = fk_keyd_place(child);

        if (place->role == FK_KEYD_SIGNER && (place->generation == generation) != others &&
            !fk_child_retired(child))
            fk_super_retire(child, seconds > handshakes ? seconds : handshakes);
    }
}

void fk_keyd_switch_audit(struct fk_keyd_master *master)
{
    struct fk_child *child = find_child(master, FK_KEYD_AUDIT, 0);

    if (child != NULL && fk_keyd_place(child)->up)
        (void)fk_child_send_fd(child, FK_PROC_LOG, 0, master->audit_fd);
}

bool fk_keyd_fronts_serve(const struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (changes_over(fk_keyd_place(child)->role) && !fk_child_retired(child) &&
            !fk_keyd_place(child)->ready)
            return false;
    return true;
}

bool fk_keyd_all_ready(const struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    if (master->current == NULL || fk_keyd_audit_stops(master))
        return false;
    while ((child = fk_super_next(master->super, child)) != NULL) {
        const struct fk_keyd_place *place = fk_keyd_place(child);

        if (place->role != FK_KEYD_ADMIN && !fk_child_retired(child) &&
            (!place->ready || fk_child_silent(child)) &&
            (place->role != FK_KEYD_SIGNER || place->generation == master->current->generation))
            return false;
    }
    return find_child(master, FK_KEYD_FRONT, 0) != NULL;
}

/* --- what the supervisor tells --- */

static int on_start(void *ctx, struct fk_child *child)
{
    struct fk_keyd_master *master = ctx;
    struct fk_keyd_place *place = fk_keyd_place(child);
    int err = roles[place->role].start(master, child);

    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "process not started", fk_str("role", fk_child_role(child)),
               fk_error(err));
    return err;
}

static void on_ready(struct fk_keyd_master *master, struct fk_child *child)
{
    struct fk_keyd_place *place = fk_keyd_place(child);

    place->ready = true;
    if (changes_over(place->role))
        fk_keyd_settled(master);
    if (place->role != FK_KEYD_SIGNER && place->role != FK_KEYD_TOKEN)
        return;
    if (master->pending != NULL && place->generation == master->pending->generation)
        fk_keyd_pending_ready(master);
    else if (is_available(master, child))
        (void)wire_child(master, child, ALL);
}

static void on_prepared(struct fk_keyd_master *master, struct fk_child *child, uint32_t generation)
{
    fk_keyd_place(child)->prepared = generation;
    if (master->preparing && generation == master->pending->generation)
        fk_keyd_pending_prepared(master);
}

/*
 * At the start there is nothing else to serve: a front that refuses is the end. Later one that
 * refuses what others serve ends, and is started again.
 */
static void on_failed(struct fk_keyd_master *master, struct fk_child *child,
                      const struct fk_procmsg *msg)
{
    const struct fk_keyd_place *place = fk_keyd_place(child);
    char why[FK_PROC_DATA_MAX + 64];

    fk_log(FK_LOG_ERROR, "process refused what it was sent", fk_str("role", fk_child_role(child)),
           fk_uint("index", fk_child_index(child)), fk_strn("reason", msg->data, msg->len));
    (void)snprintf(why, sizeof why, "a %s refused it: %.*s", roles[place->role].word, (int)msg->len,
                   (const char *)msg->data);
    if ((place->role == FK_KEYD_SIGNER || place->role == FK_KEYD_TOKEN) &&
        master->pending != NULL && place->generation == master->pending->generation) {
        fk_keyd_pending_failed(master, why);
    } else if (changes_over(place->role) && master->preparing &&
               msg->arg == master->pending->generation) {
        fk_keyd_pending_failed(master, why);
    } else if (changes_over(place->role) && !master->served && !master->draining) {
        fk_log(FK_LOG_ERROR, "cannot start", fk_str("conf", master->path), fk_str("why", why));
        master->status = 1;
        fk_loop_stop(master->loop);
    }
}

static void on_message(void *ctx, struct fk_child *child, struct fk_procmsg *msg)
{
    struct fk_keyd_master *master = ctx;
    enum fk_keyd_role role = fk_keyd_place(child)->role;

    if (msg->type == FK_PROC_READY)
        on_ready(master, child);
    else if (msg->type == FK_PROC_PREPARED && changes_over(role))
        on_prepared(master, child, msg->arg);
    else if (msg->type == FK_PROC_DIAL && role == FK_KEYD_FRONT)
        fk_keyd_dial(master, child, msg);
    else if (msg->type == FK_PROC_FAILED)
        on_failed(master, child, msg);
    else if (msg->type == FK_PROC_STATUS && role == FK_KEYD_AUDIT)
        fk_keyd_audit_head(master, msg);
    else if (msg->type == FK_PROC_STATUS && role == FK_KEYD_TOKEN)
        fk_keyd_token_report(child, msg);
    else if (msg->type == FK_PROC_STATUS && role == FK_KEYD_ASKER)
        fk_keyd_sharer_status(master, msg);
    else if (msg->type == FK_PROC_COMMAND && role == FK_KEYD_ADMIN)
        fk_keyd_command(master, msg);
    else
        fk_log(FK_LOG_ERROR, "unexpected message of a process",
               fk_str("role", fk_child_role(child)), fk_uint("type", msg->type));
}

static bool any_left(const struct fk_keyd_master *master, enum fk_keyd_role role,
                     const struct fk_child *except)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (child != except && fk_keyd_place(child)->role == role)
            return true;
    return false;
}

/* What it has told of itself says nothing any more. */
static void bury(struct fk_keyd_master *master, enum fk_keyd_role role,
                 const struct fk_child *child)
{
    unsigned index = fk_child_index(child);

    switch (role) {
    case FK_KEYD_FRONT:
        fk_keyd_dials_drop(master, child);
        fk_metrics_bury(master->metrics, index);
        fk_quota_bury(master->quota, index);
        break;
    case FK_KEYD_AUDIT:
        fk_metrics_bury(master->audit_metrics, index);
        break;
    case FK_KEYD_TOKEN:
        fk_metrics_bury(master->token_metrics, index);
        break;
    case FK_KEYD_ASKER:
        fk_keyd_sharers_fini(master);
        break;
    case FK_KEYD_SIGNER:
    case FK_KEYD_ADMIN:
    case FK_KEYD_HANDSHAKER:
    case FK_KEYD_ROLES:
        break;
    }
}

static void tell_death(struct fk_keyd_master *master, enum fk_keyd_role role)
{
    char why[64];

    (void)snprintf(why, sizeof why, "%s %s died with the new configuration",
                   role == FK_KEYD_ASKER ? "an" : "a", roles[role].word);
    fk_keyd_pending_failed(master, why);
}

/* What the generation to come loses by the end of a process that belonged to it. */
static void judge_end(struct fk_keyd_master *master, enum fk_keyd_role role, uint32_t generation,
                      bool gone)
{
    if (master->pending == NULL || generation != master->pending->generation)
        return;
    if (role == FK_KEYD_SIGNER)
        fk_keyd_pending_failed(master, "a signer died with the new keys");
    else if (role == FK_KEYD_TOKEN && !gone)
        fk_keyd_pending_failed(master, "a token's process died");
    else if (changes_over(role) && !gone && master->preparing)
        tell_death(master, role);
}

static void on_ended(void *ctx, struct fk_child *child, pid_t pid, int status, bool gone)
{
    struct fk_keyd_master *master = ctx;
    struct fk_keyd_place *place = fk_keyd_place(child);
    enum fk_keyd_role role = place->role;
    uint32_t generation = changes_over(role) ? place->asked : place->generation;

    if (!gone)
        fk_log(FK_LOG_ERROR, "process died, starting it again",
               fk_str("role", fk_child_role(child)), fk_int("pid", pid),
               fk_int("exit", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
               fk_int("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
    place->up = false;
    place->ready = false;
    place->report = (struct fk_token_report){.state = FK_TOKEN_OPENING};
    place->asked = place->prepared = 0;
    bury(master, role, child);
    judge_end(master, role, generation, gone);
    /* Fronts first: what they have under way needs signers and the audit process. */
    if (gone && master->draining && role == FK_KEYD_FRONT &&
        !any_left(master, FK_KEYD_FRONT, child))
        fk_super_stop(master->super, 1);
    if (gone)
        free(place); /* last: until now the child is found among the others */
}

static void on_stopped(void *ctx)
{
    struct fk_keyd_master *master = ctx;

    fk_loop_stop(master->loop);
}

const struct fk_super_ops fk_keyd_super_ops = {
    .on_start = on_start,
    .on_message = on_message,
    .on_exit = on_ended,
    .on_stopped = on_stopped,
};
