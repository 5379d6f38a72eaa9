/* Operators' commands. See docs/control.md for what they say. */
#include "keyd/master_priv.h"

#include "admin/command.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "keyd/audit_log.h"
#include "keyd/metrics.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_US UINT64_C(86400000000)

/* The admin process that asks; there is one. */
static struct fk_child *find_admin(const struct fk_keyd_master *master)
{
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        if (fk_keyd_place(child)->role == FK_KEYD_ADMIN && fk_keyd_place(child)->up)
            return child;
    return NULL;
}

/* Send and free. */
static void answer(struct fk_keyd_master *master, uint32_t id, json_t *json)
{
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;
    struct fk_child *admin = find_admin(master);
    int err = FK_ERR_NOMEM;

    if (text != NULL && admin != NULL)
        err = fk_admin_answer_child(admin, id, text, strlen(text));
    if (err != FK_OK)
        fk_log(FK_LOG_ERROR, "command not answered", fk_error(err));
    free(text);
    json_decref(json);
}

static const char *state_of(const struct fk_child *child)
{
    const struct fk_keyd_place *place = fk_keyd_place(child);

    if (fk_child_retired(child))
        return "draining";
    if (fk_child_pid(child) == 0)
        return "waiting";
    if (fk_child_silent(child))
        return "silent";
    return place->ready ? "serving" : "starting";
}

static json_t *children_json(const struct fk_keyd_master *master)
{
    json_t *list = json_array();
    struct fk_child *child = NULL;

    while ((child = fk_super_next(master->super, child)) != NULL)
        (void)json_array_append_new(
            list, json_pack("{s:s, s:i, s:i, s:s, s:i}", "role", fk_child_role(child), "index",
                            (int)fk_child_index(child), "pid", (int)fk_child_pid(child), "state",
                            state_of(child), "restarts", (int)fk_child_restarts(child)));
    return list;
}

static json_t *permissions_json(unsigned permissions)
{
    static const struct {
        unsigned bit;
        const char *name;
    } names[] = {
        {FK_PERM_SIGN13 | FK_PERM_SIGN12, "sign"},
        {FK_PERM_DECRYPT, "decrypt"},
        {FK_PERM_CLIENT, "client"},
        {FK_PERM_DIGEST, "digest"},
        {FK_PERM_D1_DECRYPT, "dialect1_decrypt"},
        {FK_PERM_AGREE, "agree"},
        {FK_PERM_MASTER, "master"},
        {FK_PERM_KEYS, "keys"},
        {FK_PERM_HANDSHAKE, "handshake"},
        {FK_PERM_TICKETS, "tickets"},
        {FK_PERM_EXPOSE, "expose"},
        {FK_PERM_SHARE, "share"},
    };
    json_t *list = json_array();

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if ((permissions & names[i].bit) != 0)
            (void)json_array_append_new(list, json_string(names[i].name));
    return list;
}

/* The name of the token that has a key; NULL: signers have it. */
static const char *where_is(const struct fk_store *store, const struct fk_index_key *key)
{
    const struct fk_store_token *token;

    for (size_t i = 0; key->token != 0 && (token = fk_store_token_at(store, i)) != NULL; i++)
        if (token->number == key->token)
            return token->name;
    return NULL;
}

static json_t *key_json(const struct fk_store *store, const struct fk_index_key *key,
                        int64_t not_after)
{
    static const char *const types[] = {
        [FK_KEY_RSA] = "rsa", [FK_KEY_EC] = "ec", [FK_KEY_ED25519] = "ed25519"};
    char ski[2 * sizeof key->public.ski + 1];
    json_t *names = json_array(), *json;

    fk_text_hex(key->public.ski, sizeof key->public.ski, ski);
    for (size_t i = 0; i < key->n_names; i++)
        (void)json_array_append_new(names, json_string(key->names[i]));
    json = json_pack("{s:s, s:s, s:i, s:s, s:o, s:o, s:b}", "name", key->public.name, "type",
                     types[key->public.type], "bits", (int)key->public.bits, "ski", ski,
                     "permissions", permissions_json(key->public.permissions), "names", names,
                     "retired", (int)key->retired);
    if (key->token != 0)
        (void)json_object_set_new(json, "token", json_string(where_is(store, key)));
    if (not_after != 0)
        (void)json_object_set_new(json, "not_after", json_integer(not_after));
    if (key->split != 0) {
        const char *scheme = key->split == FK_SHARE_ADDITIVE ? "additive" : "shamir";

        (void)json_object_set_new(
            json, "split",
            json_pack("{s:s, s:b}", "scheme", scheme, "combined_here", (int)!key->held));
    }
    return json;
}

static json_t *keys_json(const struct fk_keyd_load *load)
{
    const struct fk_index_key *key;
    json_t *list = json_array();
    int64_t not_after;

    for (size_t i = 0; (key = fk_store_at(load->store, i, &not_after)) != NULL; i++)
        (void)json_array_append_new(list, key_json(load->store, key, not_after));
    return list;
}

static json_t *tokens_json(const struct fk_keyd_master *master)
{
    static const char *const types[] = {[FK_TOKEN_PKCS11] = "pkcs11", [FK_TOKEN_TPM2] = "tpm2"};
    const struct fk_store_token *token;
    json_t *list = json_array();

    for (size_t i = 0; (token = fk_store_token_at(master->current->store, i)) != NULL; i++) {
        struct fk_child *child = fk_keyd_find_token(master, token->number);
        struct fk_token_report report = {.state = FK_TOKEN_OPENING};
        json_t *json;

        if (child != NULL)
            report = fk_keyd_place(child)->report;
        json =
            json_pack("{s:s, s:s, s:s, s:i, s:i}", "name", token->name, "type", types[token->type],
                      "state", fk_token_state_name((enum fk_token_state)report.state), "keys",
                      (int)report.n_keys, "keys_found", (int)report.n_found);
        if (report.why[0] != '\0')
            (void)json_object_set_new(json, "why", json_string(report.why));
        (void)json_array_append_new(list, json);
    }
    return list;
}

/* Its channels now, and what it has done since it got its slot. */
static json_t *slot_json(const struct fk_quota_slot *slot)
{
    uint64_t last = fk_quota_last_us(slot);
    json_t *json = json_pack("{s:I, s:I}", "channels", (json_int_t)fk_quota_channels(slot),
                             "operations", (json_int_t)fk_quota_operations(slot));

    if (last != 0)
        (void)json_object_set_new(
            json, "last_operation",
            json_integer((json_int_t)((fk_clock_wall_us() - (fk_clock_us() - last)) / 1000000)));
    return json;
}

static json_t *edges_json(const struct fk_keyd_master *master)
{
    uint64_t day = fk_clock_wall_us() / DAY_US;
    char identity[FK_IDENTITY_SIZE];
    json_t *list = json_array();

    for (const struct fk_conf_block *block = master->current->conf->edges; block != NULL;
         block = block->next) {
        const struct fk_keyd_edge_conf *edge = (const void *)block;
        const struct fk_quota_slot *slot;
        json_t *json;

        fk_keyd_conf_identity(edge, identity, sizeof identity);
        slot = fk_quota_find(master->quota, identity);
        json = json_pack("{s:s, s:s, s:o}", "name", block->title, "identity", identity, "allow",
                         permissions_json(edge->allow));
        if (slot != NULL)
            (void)json_object_update_new(json, slot_json(slot));
        if (slot != NULL && edge->quota != 0)
            (void)json_object_set_new(json, "operations_today",
                                      json_integer((json_int_t)fk_quota_used(slot, day)));
        (void)json_array_append_new(list, json);
    }
    return list;
}

/* --- key servers that have shares --- */

void fk_keyd_sharer_status(struct fk_keyd_master *master, const struct fk_procmsg *msg)
{
    json_t *json;

    if (msg->arg >= FK_KEYPOOL_SERVERS_MAX ||
        (json = json_loadb((const char *)msg->data, msg->len, 0, NULL)) == NULL)
        return;
    json_decref(master->sharers[msg->arg]);
    master->sharers[msg->arg] = json;
}

void fk_keyd_sharers_fini(struct fk_keyd_master *master)
{
    for (size_t i = 0; i < FK_KEYPOOL_SERVERS_MAX; i++) {
        json_decref(master->sharers[i]);
        master->sharers[i] = NULL;
    }
}

/* As the asker has told last; one that is new, or whose asker has gone, is not up. */
static json_t *sharers_json(const struct fk_keyd_master *master)
{
    const struct fk_conf_block *b = master->current->conf->keyservers;
    json_t *list = json_array();

    for (size_t i = 0; b != NULL && i < FK_KEYPOOL_SERVERS_MAX; b = b->next, i++) {
        const char *name = fk_keyd_conf_keyserver_name((const void *)b);
        const char *told = json_string_value(json_object_get(master->sharers[i], "name"));

        if (told != NULL && strcmp(told, name) == 0)
            (void)json_array_append(list, master->sharers[i]);
        else
            (void)json_array_append_new(list, json_pack("{s:s, s:b}", "name", name, "up", 0));
    }
    return list;
}

static json_t *listens_json(const struct fk_keyd_master *master)
{
    json_t *list = json_array();

    for (size_t i = 0; i < master->sockets.n_listens; i++)
        (void)json_array_append_new(list, json_string(master->sockets.listens[i].text));
    return list;
}

/* Lines that wait and that are lost are the fronts' figures. */
static json_t *audit_json(const struct fk_keyd_master *master)
{
    const struct fk_keyd_audit_conf *audit = fk_keyd_conf_audit(master->current->conf);

    return json_pack("{s:s, s:s, s:b, s:I, s:I, s:I}", "file", audit->file, "on_failure",
                     audit->on_failure == 1 ? "refuse" : "continue", "failing",
                     (int)fk_keyd_audit_failing(master), "lines",
                     (json_int_t)fk_metric_total(master->audit_metrics, FK_AUDIT_METRIC_LINES),
                     "pending", (json_int_t)fk_metric_total(master->metrics, FK_KEYD_AUDIT_PENDING),
                     "lost", (json_int_t)fk_metric_total(master->metrics, FK_KEYD_AUDIT_LOST));
}

static void do_status(struct fk_keyd_master *master, uint32_t id)
{
    json_t *json = json_pack(
        "{s:s, s:i, s:b, s:b, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "role", "keyd", "pid",
        (int)getpid(), "ready", (int)(fk_keyd_all_ready(master) && !master->draining), "draining",
        (int)master->draining, "generation", (json_int_t)master->current->generation, "uptime",
        (json_int_t)((fk_clock_us() - master->started_us) / 1000000), "loaded",
        (json_int_t)(master->loaded_wall_us / 1000000), "listen", listens_json(master), "processes",
        children_json(master), "keys", keys_json(master->current), "edges", edges_json(master));

    if (json != NULL && master->current->conf->tokens != NULL)
        (void)json_object_set_new(json, "tokens", tokens_json(master));
    if (json != NULL && master->current->conf->audit != NULL)
        (void)json_object_set_new(json, "audit", audit_json(master));
    if (json != NULL && master->current->conf->keyservers != NULL)
        (void)json_object_set_new(json, "keyservers", sharers_json(master));
    if (json != NULL && master->last_error[0] != '\0')
        (void)json_object_set_new(json, "last_error", json_string(master->last_error));
    answer(master, id, json);
}

static void answer_error(struct fk_keyd_master *master, uint32_t id, const char *text)
{
    answer(master, id, json_pack("{s:s}", "error", text));
}

static void do_reload(struct fk_keyd_master *master, uint32_t id)
{
    if (master->draining) {
        answer_error(master, id, "the key server is ending");
        return;
    }
    if (master->n_waiters == FK_KEYD_WAITERS_MAX) {
        answer_error(master, id, "too many reloads wait already");
        return;
    }
    master->waiters[master->n_waiters++] = id;
    fk_keyd_reload(master, true);
}

/* Told when nothing more is to come: a reload that was asked for during another waits on. */
void fk_keyd_answer_waiters(struct fk_keyd_master *master)
{
    if (master->again)
        return;
    for (size_t i = 0; i < master->n_waiters; i++) {
        if (master->last_error[0] != '\0')
            answer_error(master, master->waiters[i], master->last_error);
        else
            answer(master, master->waiters[i],
                   json_pack("{s:b, s:I}", "ok", 1, "generation",
                             (json_int_t)master->current->generation));
    }
    master->n_waiters = 0;
}

static void do_drain(struct fk_keyd_master *master, uint32_t id)
{
    answer(master, id, json_pack("{s:b}", "ok", 1));
    fk_keyd_drain(master);
}

static void do_keys(struct fk_keyd_master *master, uint32_t id)
{
    answer(master, id, json_pack("{s:o}", "keys", keys_json(master->current)));
}

static void do_edges(struct fk_keyd_master *master, uint32_t id)
{
    answer(master, id, json_pack("{s:o}", "edges", edges_json(master)));
}

static void do_rotate(struct fk_keyd_master *master, uint32_t id)
{
    int err = fk_keyd_roots_renew(master), theirs = FK_OK;

    if (err == FK_OK)
        theirs = fk_keyd_tickets_renew(master);
    if (err != FK_OK || (theirs != FK_OK && theirs != FK_ERR_UNSUPPORTED)) {
        answer_error(master, id, fk_err_text(err != FK_OK ? err : theirs));
        return;
    }
    fk_log(FK_LOG_INFO, "an operator has new ticket keys made");
    answer(master, id,
           json_pack("{s:b, s:s*}", "ok", 1, "note",
                     theirs == FK_OK ? NULL
                                     : "ticket keys of mode handshake come from ticket_secret"));
}

static const struct {
    const char *word;
    void (*run)(struct fk_keyd_master *master, uint32_t id);
} commands[] = {
    {"status", do_status}, {"reload", do_reload}, {"drain", do_drain},
    {"keys", do_keys},     {"edges", do_edges},   {"rotate", do_rotate},
};

void fk_keyd_command(struct fk_keyd_master *master, const struct fk_procmsg *msg)
{
    char word[FK_ADMIN_WORD_SIZE];

    if (fk_admin_command_word(msg, word) != FK_OK)
        word[0] = '\0';
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].word, word) == 0) {
            commands[i].run(master, msg->arg);
            return;
        }
    }
    answer_error(
        master, msg->arg,
        "no such command; there are status, reload, drain, keys, edges and rotate, without "
        "arguments");
}
