/* A session's records after its handshake: OpenSSL's, or the record engine's. */
#include "base/err.h"
#include "base/limits.h"
#include "base/secret.h"
#include "edge/conn_priv.h"
#include "edge/metrics.h"

#include <stdlib.h>

/* --- taking over --- */

static int make_record(struct fk_conn *conn)
{
    struct fk_session_keys keys;
    int err;

    if (conn->setup->key.opaque != NULL)
        conn->setup->seen.key_block = fk_opaque_key_block(conn->setup->key.opaque);
    err = fk_handover_take(conn->ssl, &conn->setup->seen, &keys);
    if (err == FK_OK)
        err = fk_record_new(conn->env->records, &keys, FK_RECORD_SERVER, &conn->record);
    fk_wipe(&keys, sizeof keys);
    return err;
}

/* Without the engine, for whatever reason, the session goes on as well. */
void fk_conn_take_over(struct fk_conn *conn)
{
    if (conn->record != NULL || conn->site->conf->records != FK_RECORDS_ENGINE)
        return;
    if (make_record(conn) == FK_OK) {
        fk_conn_free_ssl(conn);
        fk_metric_add(conn->env->metrics, FK_EDGE_HANDED_OVER, 1);
        return;
    }
    fk_handover_forget(conn->ssl);
}

/* Off the list, if it is there. */
static void leave(struct fk_conn *conn)
{
    if (fk_list_empty(&conn->awake))
        return;
    fk_list_del(&conn->awake);
    fk_metric_set(conn->env->metrics, FK_EDGE_AWAKE, --conn->env->n_awake);
}

void fk_conn_free_record(struct fk_conn *conn)
{
    leave(conn);
    fk_record_free(conn->record);
    conn->record = NULL;
}

/* --- rest --- */

/* In the list's order: whoever had traffic last is at its end. */
void fk_conn_wake(struct fk_conn *conn)
{
    struct fk_conn_env *env = conn->env;

    if (conn->record == NULL)
        return;
    if (fk_list_empty(&env->awake))
        fk_timer_start(&env->rest, FK_EDGE_REST_US);
    if (fk_list_empty(&conn->awake))
        fk_metric_set(env->metrics, FK_EDGE_AWAKE, ++env->n_awake);
    fk_list_del(&conn->awake);
    fk_list_append(&env->awake, &conn->awake);
}

static void on_rest(struct fk_timer *timer)
{
    struct fk_conn_env *env = fk_container(timer, struct fk_conn_env, rest);
    uint64_t now = fk_loop_now_us(env->loop);

    while (!fk_list_empty(&env->awake)) {
        struct fk_conn *conn = fk_container(env->awake.next, struct fk_conn, awake);
        uint64_t idle = now - conn->active_us;

        if (idle < FK_EDGE_REST_US) {
            fk_timer_start(timer, FK_EDGE_REST_US - idle);
            return;
        }
        leave(conn);
        fk_record_rest(conn->record);
    }
}

/* --- what connections share --- */

static bool make_area(struct fk_scratch *area, size_t size)
{
    area->size = size;
    return (area->mem = malloc(size)) != NULL;
}

static void free_area(struct fk_scratch *area)
{
    if (area->mem != NULL)
        fk_wipe(area->mem, area->size);
    free(area->mem);
    area->mem = NULL;
}

int fk_conn_env_init(struct fk_conn_env *env, struct fk_loop *loop)
{
    int err;

    env->loop = loop;
    fk_list_init(&env->conns);
    fk_list_init(&env->awake);
    fk_timer_init(&env->rest, loop, on_rest);
    if (!make_area(&env->scratch, FK_EDGE_SCRATCH) || !make_area(&env->seal, FK_EDGE_SEALED_MAX))
        return FK_ERR_NOMEM;
    if ((err = fk_record_arena_new(FK_EDGE_CONNECTIONS_MAX, &env->records)) != FK_OK)
        return err;
    return fk_admit_new(&env->admit);
}

void fk_conn_env_fini(struct fk_conn_env *env)
{
    if (env->loop == NULL)
        return;
    fk_timer_stop(&env->rest);
    free_area(&env->scratch);
    free_area(&env->seal);
    fk_arena_free(env->records);
    fk_admit_free(env->admit);
}
