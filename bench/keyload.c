/*
 * A load generator for key servers: keeps a number of TLS 1.3 signatures under way over a channel
 * to each, or asks at a fixed rate, and prints what it saw as one JSON object.
 *
 * Uses an edge's own identity and the project's key client, so that what is measured at the key
 * server is the real thing.
 */
#include "base/clock.h"
#include "base/err.h"
#include "keyclient/keyclient.h"
#include "loop/loop.h"
#include "tls/rkey.h"

#include <openssl/rand.h>
#include <openssl/x509.h>

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLES_MAX (4 * 1024 * 1024)
#define SERVERS_MAX 8
#define START_US    10000000 /* for the channel and the list of keys */

struct load;

struct call {
    struct load *load;
    struct fk_key_ticket *ticket;
    uint64_t started_us;
};

struct load {
    /* what to do */
    unsigned outstanding_max;
    uint64_t duration_us, warm_us; /* what begins within `warm_us` does not count for the times */
    uint64_t rate;                 /* a second; 0: as fast as it goes */
    const char *name;
    /* state */
    struct fk_loop *loop;
    struct fk_keyserver *servers[SERVERS_MAX];
    size_t n_servers;
    bool hedge;
    struct fk_keypool *pool;
    struct fk_timer start;  /* gives up when there is no list of keys */
    struct fk_defer pacing; /* at a fixed rate: runs in each pass of the loop */
    struct fk_key_request request;
    uint8_t tbs[FK_SIGN13_TBS_MAX];
    struct call *calls;  /* outstanding_max of them */
    struct call **spare; /* a stack of those not under way */
    unsigned n_spare;
    uint64_t begun_us, asked, finished, failed;
    int last_err;
    uint64_t *samples;
    size_t n_samples;
};

static void die(const char *what, int err)
{
    fprintf(stderr, "keyload: %s: %s\n", what, fk_err_text(err));
    exit(1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void report(struct load *load, uint64_t elapsed_us)
{
    uint64_t median = 0, p99 = 0;

    qsort(load->samples, load->n_samples, sizeof load->samples[0], compare);
    if (load->n_samples > 0) {
        median = load->samples[load->n_samples / 2];
        p99 = load->samples[load->n_samples * 99 / 100];
    }
    printf("{\"finished\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"seconds\":%.6f,\"rate\":%.1f,"
           "\"median_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 "}\n",
           load->finished, load->failed, (double)elapsed_us / 1e6,
           (double)load->finished * 1e6 / (double)elapsed_us, median, p99);
    if (load->failed > 0)
        fprintf(stderr, "keyload: last failure: %s\n", fk_err_text(load->last_err));
}

static void ask(struct load *load, uint64_t due_us);

static void done(void *arg, int err, const uint8_t *data, size_t len)
{
    struct call *call = arg;
    struct load *load = call->load;
    uint64_t now = fk_clock_us();

    (void)data;
    (void)len;
    if (err == FK_OK)
        load->finished++;
    else
        load->failed++;
    if (err != FK_OK)
        load->last_err = err;
    if (load->n_samples < SAMPLES_MAX && call->started_us >= load->begun_us + load->warm_us)
        load->samples[load->n_samples++] = now - call->started_us;
    load->spare[load->n_spare++] = call;
    if (now - load->begun_us >= load->duration_us) {
        if (load->n_spare == load->outstanding_max)
            fk_loop_stop(load->loop);
        return;
    }
    if (load->rate == 0)
        ask(load, now);
}

/* Ask once. `due_us` is when it should have been: a late request is part of what is measured. */
static void ask(struct load *load, uint64_t due_us)
{
    struct call *call = load->spare[--load->n_spare];
    int err;

    call->started_us = due_us;
    err = fk_keypool_back(load->pool)
              ->ops->submit(fk_keypool_back(load->pool), &load->request, done, call, &call->ticket);
    if (err != FK_OK)
        die("submit", err);
    load->asked++;
}

static void give_up(struct fk_timer *timer)
{
    (void)timer;
    die("no list of keys from the key server", FK_ERR_TIMEOUT);
}

/*
 * Ask for what is due by now, evenly spaced. Spins: a timer of the loop fires a millisecond late,
 * and the requests of a millisecond at once are another load than the same number one by one.
 */
static void keep_pace(struct fk_defer *defer)
{
    struct load *load = fk_container(defer, struct load, pacing);
    uint64_t now = fk_clock_us(), due;

    if (now - load->begun_us >= load->duration_us) {
        if (load->n_spare == load->outstanding_max)
            fk_loop_stop(load->loop);
        return; /* the last answer stops the loop */
    }
    while (load->n_spare > 0 && (due = load->begun_us + load->asked * 1000000 / load->rate) <= now)
        ask(load, due);
    fk_defer_start(defer);
}

static void set_request(struct load *load, const struct fk_info_key *key)
{
    static const uint16_t schemes[] = {
        [FK_KEY_RSA] = 0x0804, [FK_KEY_EC] = 0x0403, [FK_KEY_ED25519] = 0x0807};
    struct fk_key_request *request = &load->request;
    struct fk_reader chain = key->chain, leaf;
    const unsigned char *der;
    X509 *certificate;
    size_t len;

    if (fk_reader_vec16(&chain, &leaf) != FK_OK)
        die("the key has no certificate", FK_ERR_NOT_FOUND);
    der = leaf.next;
    certificate = d2i_X509(NULL, &der, (long)leaf.left);
    if (certificate == NULL)
        die("certificate", FK_ERR_FORMAT);
    request->op = FK_KEY_SIGN13;
    memcpy(request->ski, key->ski, sizeof request->ski);
    request->public_key = X509_get_pubkey(certificate);
    X509_free(certificate);
    request->u.sign13.scheme = schemes[key->type];
    request->u.sign13.role = FK_ROLE_SERVER;
    request->u.sign13.hash_len = 32;
    RAND_bytes(request->u.sign13.hash, 32);
    fk_sign13_tbs(&request->u.sign13, load->tbs, &len);
    request->tbs = load->tbs;
    request->tbs_len = len;
}

/* The server's list of keys is there: find ours and begin. */
static void on_keys(void *arg, struct fk_keyserver *server)
{
    struct load *load = arg;
    struct fk_info_key key;

    if (load->begun_us != 0)
        return;
    for (size_t i = 0; fk_keyserver_key(server, i, &key) == FK_OK; i++) {
        if (key.name.left != strlen(load->name) ||
            memcmp(key.name.next, load->name, key.name.left) != 0)
            continue;
        set_request(load, &key);
        load->begun_us = fk_clock_us();
        fk_timer_stop(&load->start);
        if (load->rate > 0)
            fk_defer_start(&load->pacing);
        while (load->rate == 0 && load->n_spare > 0)
            ask(load, load->begun_us);
        return;
    }
    die(load->name, FK_ERR_KEY_NOT_FOUND);
}

static void read_file(const char *folder, const char *name, const uint8_t **ret, size_t *ret_len)
{
    char path[4096];
    uint8_t *data = malloc(65536);
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (file == NULL || data == NULL)
        die(path, FK_ERR_NOT_FOUND);
    *ret_len = fread(data, 1, 65536, file);
    *ret = data;
    fclose(file);
}

static SSL_CTX *make_ctx(const char *folder)
{
    struct fk_channel_identity identity = {0};
    SSL_CTX *ctx;
    int err;

    read_file(folder, "channel.crt", &identity.certificate, &identity.certificate_len);
    read_file(folder, "channel.key", &identity.key, &identity.key_len);
    read_file(folder, "ca.crt", &identity.ca, &identity.ca_len);
    if ((err = fk_channel_ctx_new(&identity, false, false, &ctx)) != FK_OK)
        die("channel", err);
    return ctx;
}

/* `target`: "NAME=ADDRESS:PORT", with the name in the server's certificate. */
static void add_server(struct load *load, struct fk_keyclient *client, SSL_CTX *ctx, char *target)
{
    char *address = strchr(target, '=');
    struct fk_keyserver_config config = {.name = target,
                                         .weight = 1,
                                         .connect_timeout_us = 2000000,
                                         .ping_interval_us = 1000000,
                                         .ping_timeout_us = 2000000,
                                         .max_outstanding = load->outstanding_max};
    int err;

    if (address == NULL || load->n_servers == SERVERS_MAX)
        die(target, FK_ERR_FORMAT);
    *address = '\0';
    config.address = address + 1;
    err = fk_keyclient_add_server(client, &config, ctx, &load->servers[load->n_servers++]);
    if (err != FK_OK)
        die(target, err);
}

static void connect_servers(struct load *load, const char *folder, char **targets)
{
    struct fk_keypool_config pool = {
        .strategy = FK_STRATEGY_LEAST_OUTSTANDING, .deadline_us = 5000000, .hedge = load->hedge};
    SSL_CTX *ctx = make_ctx(folder);
    struct fk_keyclient *client;
    int err;

    if ((err = fk_keyclient_new(load->loop, &client)) != FK_OK)
        die("key client", err);
    for (; *targets != NULL; targets++)
        add_server(load, client, ctx, *targets);
    if ((err = fk_keypool_new(client, &pool, load->servers, load->n_servers, &load->pool)) != FK_OK)
        die("key client", err);
    fk_keyserver_watch(load->servers[0], on_keys, load);
}

static void usage(void)
{
    fputs(
        "usage: keyload [-d SECONDS] [-w SECONDS] [-c OUTSTANDING] [-r RATE] [-H] EDGE_FOLDER KEY "
        "SERVER=ADDRESS:PORT...\n"
        "-H: hedge; -w: warm-up, of the whole\n",
        stderr);
    exit(2);
}

static void parse_options(struct load *load, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "d:c:r:w:H")) != -1) {
        switch (option) {
        case 'd':
            load->duration_us = strtoul(optarg, NULL, 10) * 1000000;
            break;
        case 'c':
            load->outstanding_max = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            load->rate = strtoul(optarg, NULL, 10);
            break;
        case 'w':
            load->warm_us = strtoul(optarg, NULL, 10) * 1000000;
            break;
        case 'H':
            load->hedge = true;
            break;
        default:
            usage();
        }
    }
    if (optind + 3 > argc || load->outstanding_max == 0)
        usage();
}

int main(int argc, char **argv)
{
    struct load load = {.outstanding_max = 256, .duration_us = 4000000};
    int err;

    (void)signal(SIGPIPE, SIG_IGN); /* a server that is gone is a failure like others */
    parse_options(&load, argc, argv);
    load.name = argv[optind + 1];
    load.calls = calloc(load.outstanding_max, sizeof load.calls[0]);
    load.spare = calloc(load.outstanding_max, sizeof(struct call *));
    load.samples = calloc(SAMPLES_MAX, sizeof load.samples[0]);
    if (load.calls == NULL || load.spare == NULL || load.samples == NULL)
        die("start", FK_ERR_NOMEM);
    for (unsigned i = 0; i < load.outstanding_max; i++) {
        load.calls[i].load = &load;
        load.spare[load.n_spare++] = &load.calls[i];
    }
    if ((err = fk_loop_new(&load.loop)) != FK_OK)
        die("loop", err);
    fk_timer_init(&load.start, load.loop, give_up);
    fk_timer_start(&load.start, START_US);
    fk_defer_init(&load.pacing, load.loop, keep_pace);
    connect_servers(&load, argv[optind], argv + optind + 2);
    fk_loop_run(load.loop);
    report(&load, fk_clock_us() - load.begun_us);
    return load.failed == 0 ? 0 : 1;
}
