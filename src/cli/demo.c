/*
 * `farkey demo`: sets a pair up, lets real clients speak to it, shows what they saw, and takes
 * everything away again. See demo.h for its parts.
 */
#include "cli/demo.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/ctl.h"
#include "cli/options.h"
#include "loop/addr.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* From the start of the daemons to the first handshake: seconds under a sanitizer on a full
 * machine. */
#define READY_US 30000000

/* Between two looks whether a daemon is ready. */
#define LOOK_US 20000

/* One answer on a control socket. */
#define ASK_US 2000000

/* --- life --- */

static int start_children(struct fk_demo *demo)
{
    char task[64];
    int err, listener = -1;

    if (demo->origin == NULL &&
        ((err = fk_demo_port_listen(&demo->origin_port, &listener)) != FK_OK ||
         (err = fk_demo_start_child(demo, FK_DEMO_ORIGIN, "demo-origin", listener, "")) != FK_OK))
        return err;
    if (demo->rtt_us == 0)
        return FK_OK;
    snprintf(task, sizeof task, "127.0.0.1:%u %llu", demo->keyd_port.number,
             (unsigned long long)demo->rtt_us / 2);
    if ((err = fk_demo_port_listen(&demo->relay_port, &listener)) != FK_OK)
        return err;
    return fk_demo_start_child(demo, FK_DEMO_RELAY, "demo-relay", listener, task);
}

static int start(struct fk_demo *demo)
{
    int err;

    if ((err = start_children(demo)) != FK_OK ||
        (err = fk_demo_start_daemon(demo, FK_DEMO_KEYD, "keyd", demo->keyd_conf)) != FK_OK)
        return err;
    return fk_demo_start_daemon(demo, FK_DEMO_EDGE, "edge", demo->edge_conf);
}

static bool daemon_ready(const char *socket_path)
{
    json_t *answer = NULL;
    bool ready;

    if (fk_ctl_ask(socket_path, "status", NULL, ASK_US, &answer) != FK_OK)
        return false;
    ready = json_is_true(json_object_get(answer, "ready"));
    json_decref(answer);
    return ready;
}

/* Both daemons say that they are ready. */
static int wait_ready(struct fk_demo *demo, uint64_t deadline_us)
{
    const char *const sockets[] = {demo->keyd_sock, demo->edge_sock};
    int err;

    for (size_t i = 0; i < 2; i++) {
        while (!daemon_ready(sockets[i])) {
            if ((err = fk_demo_wait(demo, LOOK_US)) != FK_OK)
                return err;
            if (fk_clock_us() > deadline_us) {
                fprintf(stderr, "farkey demo: %s does not get ready\n", i == 0 ? "keyd" : "edge");
                return FK_ERR_TIMEOUT;
            }
        }
    }
    return FK_OK;
}

/* Why TLS 1.3 is not offered; NULL: it is. */
static const char *without_tls13(const struct fk_demo *demo)
{
    if (demo->kx >= 0)
        return "This key exchange is TLS 1.2's: TLS 1.3 is not offered.";
    switch (demo->mode) {
    case FK_DEMO_DECRYPT:
        return "TLS 1.3 has no RSA key exchange: mode decrypt is TLS 1.2 only.";
    case FK_DEMO_AGREE:
    case FK_DEMO_MASTER:
        return "The secrets that this mode leaves at the key server are TLS 1.2's: TLS 1.3 is not "
               "offered.";
    default:
        return NULL;
    }
}

static enum fk_demo_tls first_version(const struct fk_demo *demo)
{
    return without_tls13(demo) != NULL ? FK_DEMO_TLS12 : FK_DEMO_TLS13;
}

/* A first handshake succeeds: the channel is open and the certificate is there. */
static int wait_served(struct fk_demo *demo, uint64_t deadline_us)
{
    struct fk_demo_view view;
    int err;

    while (fk_demo_handshake(demo, first_version(demo), &view) != FK_OK) {
        if ((err = fk_demo_wait(demo, LOOK_US)) != FK_OK)
            return err;
        if (fk_clock_us() > deadline_us) {
            fprintf(stderr, "farkey demo: no handshake succeeds: %s\n", view.failure);
            return FK_ERR_TIMEOUT;
        }
    }
    return FK_OK;
}

static void show_logs(const struct fk_demo *demo)
{
    for (int i = 0; i < FK_DEMO_PROCS; i++) {
        uint8_t *text = NULL;
        size_t len = 0;

        if (demo->procs[i].ended || demo->procs[i].log[0] == '\0' ||
            fk_file_read(demo->procs[i].log, &text, &len) != FK_OK)
            continue;
        fprintf(stderr, "--- log of %s:\n%s", demo->procs[i].name, (const char *)text);
        free(text);
    }
}

/* --- the show --- */

static int show_request(struct fk_demo *demo, enum fk_demo_tls version, bool curl, FILE *out)
{
    struct fk_demo_view view;
    char title[64];
    int err;

    snprintf(title, sizeof title, "A request over TLS %s, by %s",
             version == FK_DEMO_TLS12 ? "1.2" : "1.3", curl ? "curl" : "OpenSSL in this process");
    err = curl ? fk_demo_curl(demo, version, &view) : fk_demo_openssl(demo, version, &view);
    fk_demo_show_view(&view, title, out);
    return err;
}

static int show(struct fk_demo *demo, FILE *out)
{
    bool curl = fk_demo_has("curl");
    char command[2 * FK_PATH_SIZE];
    int err;

    fk_demo_show_pair(demo, out);
    if (!curl)
        fputs("\ncurl is not installed; the client is one of our own.\n", out);
    if ((err = show_request(demo, FK_DEMO_TLS12, curl, out)) != FK_OK)
        return err;
    if (without_tls13(demo) != NULL)
        fprintf(out, "\n%s\n", without_tls13(demo));
    else if ((err = show_request(demo, FK_DEMO_TLS13, curl, out)) != FK_OK)
        return err;
    fk_demo_show_processes(demo, out);
    if (demo->stay) {
        fk_demo_command(demo, command, sizeof command);
        fprintf(out,
                "\nTo repeat it (Ctrl-C ends the demonstration and removes its directory)\n  %s\n",
                command);
    }
    fflush(out);
    return FK_OK;
}

/* Until a signal: daemons may be killed to see what happens. */
static int stay(struct fk_demo *demo)
{
    int err;

    do
        err = fk_demo_wait(demo, UINT64_MAX);
    while (err != FK_ERR_CANCELLED);
    return FK_OK;
}

static int perform(struct fk_demo *demo)
{
    uint64_t deadline_us = fk_clock_us() + READY_US;
    int err;

    if ((err = start(demo)) != FK_OK) {
        fk_command_fail("cannot start the processes in", demo->dir, err);
        return err;
    }
    if ((err = wait_ready(demo, deadline_us)) != FK_OK ||
        (err = wait_served(demo, deadline_us)) != FK_OK)
        goto out;
    fk_demo_warn_of_origin(demo);
    if (demo->json)
        fk_demo_show_json(demo, stdout);
    else if ((err = show(demo, stdout)) != FK_OK)
        goto out;
    if (demo->stay)
        err = stay(demo);
out:
    if (err != FK_OK && err != FK_ERR_CANCELLED)
        show_logs(demo);
    return err;
}

static int run(struct fk_demo *demo)
{
    int err;

    if ((err = fk_demo_procs_init(demo)) != FK_OK)
        return fk_command_fail("cannot start the", "demonstration", err);
    if ((err = fk_demo_setup(demo)) != FK_OK)
        fk_command_fail("cannot lay out", demo->dir[0] != '\0' ? demo->dir : "a directory", err);
    else
        err = perform(demo);
    fk_demo_procs_fini(demo);
    fk_demo_port_drop(&demo->edge_port);
    fk_demo_port_drop(&demo->keyd_port);
    fk_demo_port_drop(&demo->relay_port);
    fk_demo_port_drop(&demo->origin_port);
    if (fk_demo_dir_remove(demo) != FK_OK)
        fk_command_fail("cannot remove", demo->dir, FK_ERR_SYS);
    else if (err == FK_OK && !demo->json && !demo->stay)
        puts("\nNothing is left: the processes have ended, the directory is removed. To keep the "
             "pair and\nmake requests of your own: farkey demo --stay (make demo DEMO=--stay)");
    return err == FK_OK ? 0 : 1;
}

/* --- the command --- */

/* What mode, key exchange and key are to each other; the key, if none is named. */
static int check_exchange(struct fk_demo *demo)
{
    bool rsa = demo->mode == FK_DEMO_DECRYPT || demo->kx > FK_DEMO_ECDHE;
    const char *why = NULL;

    if (demo->mode == FK_DEMO_DECRYPT && demo->kx >= 0 && demo->kx != FK_DEMO_RSA)
        why = "--mode decrypt is RSA key exchange: use --kx rsa, or another mode";
    else if (demo->mode == FK_DEMO_DECRYPT && demo->key > 0)
        why = "--mode decrypt is RSA key exchange: use --key rsa2048";
    else if (rsa && demo->key > 0)
        why = "--kx dhe and --kx rsa are for RSA keys: use --key rsa2048";
    if (why != NULL) {
        fprintf(stderr, "farkey demo: %s\n", why);
        return FK_ERR_INVAL;
    }
    if (demo->key < 0)
        demo->key = rsa ? 0 : 1;
    return FK_OK;
}

static int check_values(struct fk_demo *demo)
{
    char host[FK_PATH_SIZE];
    uint16_t port;

    if (demo->origin != NULL &&
        (fk_addr_split(demo->origin, host, sizeof host, &port) != FK_OK || port == 0)) {
        fprintf(stderr, "farkey demo: --origin \"%s\": write HOST:PORT\n", demo->origin);
        return FK_ERR_INVAL;
    }
    if (check_exchange(demo) != FK_OK)
        return FK_ERR_INVAL;
    return fk_demo_check_client(demo);
}

int fk_cmd_demo(int argc, char **argv)
{
    static const char *const keys[] = {"rsa2048", "p256", "ed25519", NULL};
    static const char *const exchanges[] = {"ecdhe", "dhe", "rsa", NULL};
    static const char *const modes[] = {"sign",  "decrypt", "local", "handshake", "lend",
                                        "agree", "master",  "keys",  NULL};
    static const char *const requires[] = {"none", "optional", "required", NULL};
    static const struct fk_opt options[] = {
        {"stay", 0, FK_OPT_FLAG, offsetof(struct fk_demo, stay), NULL,
         "keep the pair running until SIGINT or SIGTERM", 0, 0, NULL},
        {"json", 0, FK_OPT_FLAG, offsetof(struct fk_demo, json), NULL,
         "after a first handshake print one JSON object on one line, and nothing else", 0, 0, NULL},
        {"dial", 0, FK_OPT_FLAG, offsetof(struct fk_demo, dial), NULL,
         "have the key server open the channel, not the edge", 0, 0, NULL},
        {"key", 'k', FK_OPT_ENUM, offsetof(struct fk_demo, key), NULL,
         "type of the site's key (default: p256; rsa2048 where it must be RSA)", 0, 0, keys},
        {"kx", 0, FK_OPT_ENUM, offsetof(struct fk_demo, kx), NULL,
         "key exchange, of TLS 1.2 alone (default: what client and edge choose)", 0, 0, exchanges},
        {"http", 0, FK_OPT_FLAG, offsetof(struct fk_demo, http), NULL,
         "have the edge speak HTTP, not pass bytes", 0, 0, NULL},
        {"client-certificate", 0, FK_OPT_ENUM, offsetof(struct fk_demo, client_certificate), NULL,
         "ask clients for a certificate (default: none; optional with one of the next two)", 0, 0,
         requires},
        {"client-ca", 0, FK_OPT_STRING, offsetof(struct fk_demo, client_ca), "FILE",
         "take clients with certificates of this authority, too (PEM)", 0, 0, NULL},
        {"relay", 0, FK_OPT_STRING, offsetof(struct fk_demo, relay), "FORMAT,...",
         "tell the origin of the client's certificate: rfc9440, cookie, xfcc, nginx, haproxy, "
         "traefik, alb; the edge then speaks HTTP",
         0, 0, NULL},
        {"origin", 0, FK_OPT_STRING, offsetof(struct fk_demo, origin), "HOST:PORT",
         "forward there instead of to the built-in origin", 0, 0, NULL},
        {"rtt", 0, FK_OPT_DURATION, offsetof(struct fk_demo, rtt_us), "TIME",
         "put a relay between edge and key server that delays by this, there and back", 0, 60000000,
         NULL},
        {"mode", 'm', FK_OPT_ENUM, offsetof(struct fk_demo, mode), NULL,
         "where the key is and what is done with it (default: sign)", 0, 0, modes},
        {"port", 'p', FK_OPT_NUMBER, offsetof(struct fk_demo, port), "N",
         "the edge's port (default: a free one)", 1, 65535, NULL},
        {NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL},
    };
    static const struct fk_opt_command command = {
        "farkey demo",
        "",
        "Run an edge without a private key, a key server and an origin in a directory of their "
        "own,\nlet clients make requests, and show what they see. Needs no root and no network.\n"
        "farkey demo inline shows the inline box; that needs root.",
        options,
        0,
        0};
    struct fk_demo demo = {.key = -1,
                           .kx = -1,
                           .client_certificate = -1,
                           .signals = -1,
                           .lock = -1,
                           .edge_port.hold = -1,
                           .keyd_port.hold = -1,
                           .relay_port.hold = -1,
                           .origin_port.hold = -1};
    int first, err;

    if (argc > 1 && strcmp(argv[1], "inline") == 0)
        return fk_cmd_demo_inline(argc - 1, argv + 1);
    err = fk_opt_parse(&command, &demo, argc, argv, &first);
    if (err != FK_OK)
        return fk_opt_status(err);
    if (check_values(&demo) != FK_OK)
        return 2;
    fk_log_role("demo");
    return run(&demo);
}
