/*
 * The key client of one worker: its servers, and what others may know of them.
 */
#include "keyclient/internal.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fk_keyclient_new(struct fk_loop *loop, struct fk_keyclient **ret)
{
    struct fk_keyclient *client = calloc(1, sizeof *client);

    if (client == NULL)
        return FK_ERR_NOMEM;
    client->loop = loop;
    fk_list_init(&client->servers);
    fk_list_init(&client->pools);
    *ret = client;
    return FK_OK;
}

void fk_keyclient_free(struct fk_keyclient *client)
{
    if (client == NULL)
        return;
    while (!fk_list_empty(&client->pools))
        fk_pool_reap(fk_container(client->pools.next, struct fk_keypool, link));
    while (!fk_list_empty(&client->servers))
        fk_server_free(fk_container(client->servers.next, struct fk_keyserver, link));
    free(client);
}

void fk_keyclient_set_dns(struct fk_keyclient *client, struct fk_dns *dns)
{
    client->dns = dns;
}

static bool copy_text(const char *text, char **ret)
{
    if (text != NULL && (*ret = strdup(text)) == NULL)
        return false;
    return true;
}

int fk_keyserver_address_check(const char *text)
{
    char host[FK_HOST_MAX + 1];
    struct fk_addr addr;
    uint16_t port;
    int err = fk_addr_parse(text, &addr);

    if ((err != FK_OK && err != FK_ERR_NOT_FOUND) ||
        fk_addr_split(text, host, sizeof host, &port) != FK_OK)
        return FK_ERR_FORMAT;
    return port == 0 || strcmp(host, "*") == 0 || strcmp(host, "unix") == 0 ? FK_ERR_FORMAT : FK_OK;
}

static bool copy_ranges(const struct fk_ranges *ranges, struct fk_ranges *ret)
{
    if (ranges->count == 0)
        return true;
    if ((ret->items = calloc(ranges->count, sizeof *ret->items)) == NULL)
        return false;
    memcpy(ret->items, ranges->items, ranges->count * sizeof *ret->items);
    ret->count = ranges->count;
    return true;
}

static int check_config(const struct fk_keyserver_config *config)
{
    if (config->name == NULL || (config->address == NULL) == (config->accept == NULL) ||
        config->weight == 0 || config->max_outstanding == 0 ||
        config->max_outstanding > FK_KEYSERVER_OUTSTANDING_MAX || config->connect_timeout_us == 0 ||
        (config->ping_interval_us > 0 && config->ping_timeout_us == 0))
        return FK_ERR_INVAL;
    return FK_OK;
}

int fk_keyclient_add_server(struct fk_keyclient *client, const struct fk_keyserver_config *config,
                            SSL_CTX *ctx, struct fk_keyserver **ret)
{
    struct fk_keyserver *server;
    int err = check_config(config);

    if (err != FK_OK)
        return err;
    server = calloc(1, sizeof *server);
    if (server == NULL)
        return FK_ERR_NOMEM;
    fk_server_init(server, client->loop);
    server->client = client;
    server->config = *config;
    server->has_bind = config->bind != NULL;
    err = FK_ERR_NOMEM;
    if (!copy_text(config->name, &server->texts.name) ||
        !copy_text(config->address, &server->texts.address) ||
        !copy_text(config->accept, &server->texts.accept) ||
        !copy_ranges(&config->allow, &server->allow) ||
        !copy_ranges(&config->deny, &server->deny) ||
        !copy_text(config->device, &server->texts.device) ||
        !copy_text(config->zone, &server->texts.zone) ||
        (config->accept != NULL && (err = fk_dialled_init(server)) != FK_OK) ||
        (err = fk_table_init(&server->table, config->max_outstanding)) != FK_OK ||
        (config->bind != NULL &&
         (err = fk_addr_parse_local(config->bind, &server->bind)) != FK_OK)) {
        fk_server_free(server);
        return err;
    }
    SSL_CTX_up_ref(ctx);
    server->ctx = ctx;
    fk_list_append(&client->servers, &server->link);
    if (config->idle_us == 0)
        fk_defer_start(&server->kick);
    *ret = server;
    return FK_OK;
}

void fk_keyclient_use(struct fk_keyclient *client, SSL_CTX *ctx)
{
    struct fk_list *item;

    fk_list_each (item, &client->servers)
        fk_server_use(fk_container(item, struct fk_keyserver, link), ctx);
}

void fk_keyclient_step_back(struct fk_keyclient *client)
{
    struct fk_list *item;

    fk_list_each (item, &client->servers)
        fk_server_step_back(fk_container(item, struct fk_keyserver, link));
}

void fk_keyclient_retire_server(struct fk_keyserver *server)
{
    server->retired = true;
    fk_server_retire_check(server);
}

void fk_keyserver_watch(struct fk_keyserver *server, fk_keylist_cb *changed, void *arg)
{
    server->watch = changed;
    server->watch_arg = arg;
    if (changed == NULL)
        return;
    if (server->list.complete)
        fk_defer_start(&server->tell_watch);
    else if (fk_server_has_channel(server) && !server->listing)
        (void)fk_server_send_info(server, 0);
    else if (server->state == FK_SERVER_IDLE)
        fk_defer_start(&server->kick); /* a listing needs a channel, on demand or not */
}

uint64_t fk_keyserver_listing(const struct fk_keyserver *server)
{
    return server->listings;
}

uint64_t fk_keyserver_generation(const struct fk_keyserver *server)
{
    return server->list.complete ? server->list.generation : 0;
}

int fk_keyserver_key(const struct fk_keyserver *server, size_t i, struct fk_info_key *ret)
{
    if (!server->list.complete || i >= server->list.n)
        return FK_ERR_NOT_FOUND;
    *ret = server->list.keys[i];
    return FK_OK;
}

void fk_keyserver_stats(const struct fk_keyserver *server, struct fk_keyserver_stats *ret)
{
    *ret = server->stats;
    ret->outstanding = server->outstanding;
}

const char *fk_keyserver_name(const struct fk_keyserver *server)
{
    return server->texts.name;
}
