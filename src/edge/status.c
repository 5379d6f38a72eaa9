/* A worker's view as JSON: see status.h. */
#include "edge/status.h"

#include "base/clock.h"
#include "base/err.h"
#include "edge/lendkeys.h"
#include "loop/proc.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <stdlib.h>
#include <string.h>

static json_t *server_json(const struct fk_keys *keys, size_t i)
{
    struct fk_keyserver_stats stats;
    struct fk_keyserver *server;
    const char *title;

    if (fk_keys_at(keys, i, &title, &server) != FK_OK)
        return NULL;
    fk_keyserver_stats(server, &stats);
    return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", title, "up",
                     (int)stats.up, "outstanding", (json_int_t)stats.outstanding, "requests",
                     (json_int_t)stats.requests, "failures", (json_int_t)stats.failures, "timeouts",
                     (json_int_t)stats.timeouts, "bad_signatures", (json_int_t)stats.bad_signatures,
                     "connects", (json_int_t)stats.connects, "hedges", (json_int_t)stats.hedges,
                     "average_us", (json_int_t)stats.average_us);
}

/* What was borrowed for it. */
static json_t *lent_json(const struct fk_site *site)
{
    struct fk_lendkeys_stats stats;

    fk_lendkeys_stats(site->lent, &stats);
    return json_pack("{s:I, s:I, s:I}", "seconds", (json_int_t)(site->conf->lend_us / 1000000),
                     "lendings", (json_int_t)stats.lendings, "failures",
                     (json_int_t)stats.failures);
}

/* The responses that its certificates have. */
static json_t *ocsp_json(const struct fk_site *site)
{
    const int64_t now = (int64_t)(fk_clock_wall_us() / 1000000);
    char until[FK_CLOCK_TEXT_SIZE];
    json_t *array = json_array();
    struct fk_staple_use use;

    for (size_t i = 0; site->ctx != NULL && fk_staple_served(site->ctx, i, &use) == FK_OK; i++) {
        fk_clock_format(use.term.until > 0 ? (uint64_t)use.term.until * 1000000 : 0, until);
        json_array_append_new(
            array,
            json_pack("{s:s, s:b, s:s, s:I}", "key",
                      OBJ_nid2sn(EVP_PKEY_get_base_id(X509_get0_pubkey(use.leaf))), "in_force",
                      (int)fk_staple_in_force(&use.term, now), "until", until, "days_left",
                      (json_int_t)(use.term.until > now ? (use.term.until - now) / 86400 : 0)));
    }
    return array;
}

/* Who makes the keys of its tickets. */
static const char *tickets_of(const struct fk_site *site)
{
    if (fk_site_passes(site) || site->desk != NULL)
        return "keyserver";
    return site->feeds == NULL ? "edge" : "shared";
}

/* How many keys open its tickets; or how many single tickets could be sealed now. */
static size_t ticket_keys_of(const struct fk_site *site)
{
    return site->desk != NULL ? fk_desk_stock(site->desk) : fk_ticket_site_count(site->tickets);
}

static json_t *site_json(struct fk_site *site)
{
    json_t *origins = json_array();
    uint64_t shaken = site->shaken[false] + site->shaken[true];
    struct fk_origin_stats stats;
    json_t *json;

    for (size_t i = 0; fk_origins_stats(site->origins, i, &stats) == FK_OK; i++)
        json_array_append_new(
            origins,
            json_pack("{s:s, s:b, s:b, s:I, s:I, s:I, s:I}", "name", stats.name, "up",
                      (int)stats.up, "set_down", (int)stats.set_down, "connections",
                      (json_int_t)stats.connections, "kept", (json_int_t)stats.kept, "attempts",
                      (json_int_t)stats.attempts, "failures", (json_int_t)stats.failures));
    json = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:I, s:o}", "name",
        site->conf->block.title, "mode", fk_edge_mode_name(site->conf), "expose",
        fk_edge_expose_name(site->conf), "tickets", tickets_of(site), "sessions",
        site->store == NULL ? "host" : "redis", "ticket_keys", (json_int_t)ticket_keys_of(site),
        "certificate", site->ctx != NULL || fk_site_passes(site), "connections",
        (json_int_t)site->connections, "active", (json_int_t)site->active, "handshakes",
        (json_int_t)shaken, "resumed", (json_int_t)site->shaken[true], "origins", origins);
    if (json != NULL && site->not_after != 0)
        json_object_set_new(json, "not_after", json_integer(site->not_after));
    if (json != NULL && site->lent != NULL)
        json_object_set_new(json, "lent", lent_json(site));
    if (json != NULL && site->conf->ocsp.count > 0)
        json_object_set_new(json, "ocsp", ocsp_json(site));
    return json;
}

static json_t *worker_json(const struct fk_gen *gen)
{
    json_t *sites = json_array(), *servers = json_array();
    json_t *server;

    for (size_t i = 0; gen != NULL && i < fk_sites_count(gen->sites); i++)
        json_array_append_new(sites, site_json(fk_sites_at(gen->sites, i)));
    for (size_t i = 0; gen != NULL && gen->keys != NULL; i++) {
        if ((server = server_json(gen->keys, i)) == NULL)
            break;
        json_array_append_new(servers, server);
    }
    return json_pack("{s:I, s:b, s:o, s:o}", "generation",
                     (json_int_t)(gen == NULL ? 0 : gen->number), "session_store",
                     gen != NULL && gen->redis != NULL && fk_redis_is_up(gen->redis), "sites",
                     sites, "keyservers", servers);
}

int fk_status_send(int control, const struct fk_gen *gen)
{
    json_t *json = worker_json(gen);
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    size_t len = text == NULL ? 0 : strlen(text);
    size_t sent = 0;

    json_decref(json);
    if (text == NULL)
        return FK_ERR_NOMEM;
    while (sent < len) {
        struct fk_procmsg msg = {.type = FK_PROC_STATUS};

        msg.len = len - sent < sizeof msg.data ? len - sent : sizeof msg.data;
        memcpy(msg.data, text + sent, msg.len);
        sent += msg.len;
        msg.arg = sent == len;
        if (fk_proc_send(control, &msg) != FK_OK)
            break; /* the master does not keep up: it asks again */
    }
    free(text);
    return FK_OK;
}
