/*
 * `farkey demo`: an edge without a private key, a key server, an origin and real clients, in a
 * directory of their own. The parts of the demonstration to each other.
 */
#ifndef FK_CLI_DEMO_H
#define FK_CLI_DEMO_H

#include "base/buf.h"
#include "base/limits.h"
#include "cli/files.h"
#include "cli/init.h"
#include "loop/loop.h"
#include "loop/proc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define FK_DEMO_NAME "example.com"

/* --- the demonstration's own children (demo_child.c, demo_origin.c, demo_relay.c) --- */

struct fk_demo_child {
    struct fk_loop *loop;
    struct fk_io control;
    /* A message of the master; an error ends the process. */
    int (*take)(struct fk_demo_child *child, struct fk_procmsg *msg);
    void *ctx;
    int err;
};

int fk_demo_child_init(struct fk_demo_child *child, const char *role, unsigned index,
                       int (*take)(struct fk_demo_child *child, struct fk_procmsg *msg), void *ctx);
/* Returns the exit status. */
int fk_demo_child_fini(struct fk_demo_child *child);

int fk_demo_origin_main(unsigned index);
int fk_demo_relay_main(unsigned index);

/* --- processes (demo_proc.c) --- */

struct fk_demo_proc {
    const char *name;
    pid_t pid; /* 0: not started */
    int pidfd;
    int control; /* of our own children; -1 */
    bool ended;
    int status;             /* of waitpid(2), once ended */
    char log[FK_PATH_SIZE]; /* "" : writes to our stderr */
};

enum { FK_DEMO_KEYD, FK_DEMO_EDGE, FK_DEMO_ORIGIN, FK_DEMO_RELAY, FK_DEMO_PROCS };

enum fk_demo_mode {
    FK_DEMO_SIGN,
    FK_DEMO_DECRYPT,
    FK_DEMO_LOCAL,
    FK_DEMO_HANDSHAKE,
    FK_DEMO_LEND,
    FK_DEMO_AGREE,
    FK_DEMO_MASTER,
    FK_DEMO_KEYS,
};

/* Key exchanges of TLS 1.2, by the values of --kx. */
enum fk_demo_kx { FK_DEMO_ECDHE, FK_DEMO_DHE, FK_DEMO_RSA };

/* What the edge asks clients for, by the values of --client-certificate. */
enum fk_demo_require { FK_DEMO_NONE, FK_DEMO_OPTIONAL, FK_DEMO_REQUIRED };

/* A TCP port of 127.0.0.1 that is kept for one process until that listens on it. */
struct fk_demo_port {
    int hold;
    uint16_t number;
};

struct fk_demo {
    /* options */
    bool stay, json;
    bool dial;              /* the key server opens the channel */
    int key;                /* enum of the option: index into the demo's key names */
    int mode;               /* enum fk_demo_mode */
    int kx;                 /* enum fk_demo_kx, TLS 1.2 alone then; -1: as it comes */
    bool http;              /* the edge speaks HTTP */
    int client_certificate; /* enum fk_demo_require; -1: as the rest asks for */
    const char *client_ca;  /* of clients of the user's; NULL: none */
    const char *relay;      /* formats with commas; NULL: none */
    const char *origin;
    uint64_t rtt_us;
    uint64_t port;
    /* state */
    int signals; /* signalfd of SIGINT, SIGTERM, SIGHUP */
    struct fk_demo_proc procs[FK_DEMO_PROCS];
    struct fk_demo_port edge_port, keyd_port, relay_port, origin_port;
    char dir[FK_PATH_SIZE];
    int lock; /* held as long as `dir` is in use; -1 */
    struct fk_pair pair;
    char site_ca[FK_PATH_SIZE];                               /* ca.crt of the site's certificate */
    char key_file[FK_PATH_SIZE];                              /* the site's private key */
    char client_cert[FK_PATH_SIZE], client_key[FK_PATH_SIZE]; /* "" : clients show none */
    char edge_conf[FK_PATH_SIZE], keyd_conf[FK_PATH_SIZE];
    char edge_sock[FK_PATH_SIZE], keyd_sock[FK_PATH_SIZE];
    char origin_address[300];
};

/* Catch the signals that end the demonstration; become the parent of orphans. */
int fk_demo_procs_init(struct fk_demo *demo);

struct fk_demo_program {
    const char *name;        /* its log is DIR/NAME.log */
    const char *const *argv; /* argv[0]: looked for in PATH; "farkey": this program */
    int netns;               /* the network namespace that it runs in; -1: ours */
};

int fk_demo_start_program(struct fk_demo *demo, int which, const struct fk_demo_program *program);
/* Run a program to its end; what it says is appended. *ret_status is waitpid(2)'s.
 * FK_ERR_CANCELLED: a signal asks to end, fk_demo_wait() will say so, too. */
int fk_demo_run(const struct fk_demo *demo, const struct fk_demo_program *program,
                struct fk_buf *out, int *ret_status);

/* `farkey VERB -c CONF` with its log in DIR/VERB.log. */
int fk_demo_start_daemon(struct fk_demo *demo, int which, const char *verb, const char *conf);

/* One of our own children, with a listening socket (given up) and the data of its FK_PROC_GO. */
int fk_demo_start_child(struct fk_demo *demo, int which, const char *role, int listener,
                        const char *data);

/*
 * Wait up to `us`. FK_OK: the time is over; FK_ERR_CANCELLED: a signal asks to end; FK_ERR_CLOSED:
 * a process has ended (`ended` is set, it has been said on stderr with the end of its log).
 */
int fk_demo_wait(struct fk_demo *demo, uint64_t us);

/* End all processes, theirs too, and wait until none is left. */
void fk_demo_procs_fini(struct fk_demo *demo);

/* Keep a port; 0: any free one. FK_ERR_SYS. */
int fk_demo_port_take(uint16_t number, struct fk_demo_port *ret);
/* A listening socket on a kept port. */
int fk_demo_port_listen(struct fk_demo_port *port, int *ret_fd);
void fk_demo_port_drop(struct fk_demo_port *port);

/* --- the directory (demo_dir.c) --- */

/* A fresh directory that nobody sweeps while this process lives. FK_ERR_SYS, FK_ERR_LIMIT. */
int fk_demo_dir_make(struct fk_demo *demo);
/* Remove it, if there is one. FK_ERR_SYS. */
int fk_demo_dir_remove(struct fk_demo *demo);
/* Remove what killed demonstrations of this user left: keys are in it. */
void fk_demo_dirs_sweep(void);

/* --- files (demo_setup.c) --- */

/* Make the directory with identities, the site's key and certificate, and configurations. */
int fk_demo_setup(struct fk_demo *demo);

/* A CA for the site in the directory, and of it a certificate for a new key of type `demo->key` in
 * `demo->key_file`. Sets `site_ca`. */
int fk_demo_make_certificate(struct fk_demo *demo, const char *cert_file);

__attribute__((format(printf, 2, 3))) int fk_demo_write(const char *path, const char *format, ...);

/* --- HTTP and certificates of clients (demo_cert.c) --- */

/* What --http, --client-certificate, --client-ca and --relay are to each other; fills in what was
 * left open. FK_ERR_INVAL: told on stderr. */
int fk_demo_check_client(struct fk_demo *demo);
/* An authority, a key and a certificate for our own clients, if they need them. */
int fk_demo_make_client(struct fk_demo *demo);
/* The lines of the site block. */
void fk_demo_client_lines(const struct fk_demo *demo, char *dst, size_t size);

/* --- clients (demo_client.c) --- */

/* What a client saw. */
struct fk_demo_view {
    char protocol[32];
    char cipher[64];
    char subject[256];
    char issuer[256];
    char verified[128]; /* "ok" or why not */
    int status;         /* HTTP, 0: none */
    char body[FK_DEMO_ORIGIN_OUT];
    char failure[512]; /* why there is nothing of the above, "" when there is */
};

enum fk_demo_tls { FK_DEMO_TLS12, FK_DEMO_TLS13 };

/* What a client's TLS 1.2 offers for --kx, as OpenSSL writes it; NULL: everything. */
const char *fk_demo_ciphers(const struct fk_demo *demo);

/* Whether the client's certificate is in what the origin has shown, by each format that is to be
 * read at sight. FK_ERR_VERIFY: `failure` says which is missing. (demo_cert.c) */
int fk_demo_judge_relay(const struct fk_demo *demo, struct fk_demo_view *view);

/* Whether a program is to be found in PATH. */
bool fk_demo_has(const char *program);

/* One request by curl, or by OpenSSL in this process. FK_OK: protocol, certificate and answer are
 * as they must be. */
int fk_demo_curl(struct fk_demo *demo, enum fk_demo_tls version, struct fk_demo_view *ret);
int fk_demo_openssl(struct fk_demo *demo, enum fk_demo_tls version, struct fk_demo_view *ret);

/* A handshake alone, by OpenSSL: the origin may speak anything. */
int fk_demo_handshake(struct fk_demo *demo, enum fk_demo_tls version, struct fk_demo_view *ret);

/* Say on stderr, in one line, that nobody takes connections at an origin of the user's. */
void fk_demo_warn_of_origin(const struct fk_demo *demo);

/* The line with which the user repeats it. */
void fk_demo_command(const struct fk_demo *demo, char *dst, size_t size);

/* --- printing (demo_show.c) --- */

void fk_demo_show_pair(const struct fk_demo *demo, FILE *out);
void fk_demo_show_view(const struct fk_demo_view *view, const char *client, FILE *out);
/* Every process of the pair with its sockets, and where the key is. */
void fk_demo_show_processes(const struct fk_demo *demo, FILE *out);
void fk_demo_show_json(const struct fk_demo *demo, FILE *out);

#endif
