/*
 * The demonstration's clients: curl where it is installed, and one of OpenSSL in this process. What
 * they report is what they saw; nothing is taken from the configuration.
 */
#include "cli/demo.h"

#include "base/buf.h"
#include "base/err.h"
#include "loop/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT_S 15

/* For an origin of the user's to take a connection. */
#define ORIGIN_TIMEOUT_S 3

/* What curl says about one request. */
#define CURL_LOG_MAX 65536

/* Its arguments, with a NULL behind them. */
#define CURL_ARGS_MAX 32

struct version_row {
    const char *name; /* OpenSSL's */
    const char *option, *max;
    int number;
};

static const struct version_row versions[] = {
    [FK_DEMO_TLS12] = {"TLSv1.2", "--tlsv1.2", "1.2", TLS1_2_VERSION},
    [FK_DEMO_TLS13] = {"TLSv1.3", "--tlsv1.3", "1.3", TLS1_3_VERSION},
};

/* Of --kx: what a client offers, and how the suites that can come of it begin. */
static const struct {
    const char *offer, *prefix;
} exchanges[] = {
    [FK_DEMO_ECDHE] = {"ECDHE+AESGCM", "ECDHE-"},
    [FK_DEMO_DHE] = {"DHE+AESGCM", "DHE-"},
    [FK_DEMO_RSA] = {"kRSA+AESGCM", "AES"},
};

const char *fk_demo_ciphers(const struct fk_demo *demo)
{
    return demo->kx < 0 ? NULL : exchanges[demo->kx].offer;
}

/* An origin of the user's may answer with any status. */
static bool status_ok(const struct fk_demo *demo, int status)
{
    return demo->origin != NULL ? status > 0 : status == 200;
}

/* Protocol, key exchange and certificate must be as they should. */
static int judge(const struct fk_demo *demo, struct fk_demo_view *view,
                 const struct version_row *version)
{
    const char *prefix = demo->kx < 0 ? "" : exchanges[demo->kx].prefix;

    if (view->failure[0] != '\0')
        return FK_ERR_TLS;
    if (strcmp(view->protocol, version->name) != 0)
        snprintf(view->failure, sizeof view->failure, "the protocol is \"%s\", not %s",
                 view->protocol, version->name);
    else if (strncmp(view->cipher, prefix, strlen(prefix)) != 0)
        snprintf(view->failure, sizeof view->failure, "the suite is \"%s\", not %s...",
                 view->cipher, prefix);
    else if (strcmp(view->verified, "ok") != 0)
        snprintf(view->failure, sizeof view->failure, "the certificate is not verified: %s",
                 view->verified);
    return view->failure[0] == '\0' ? FK_OK : FK_ERR_VERIFY;
}

/* And so must the answer. */
static int judge_answer(const struct fk_demo *demo, struct fk_demo_view *view,
                        const struct version_row *version)
{
    int err = judge(demo, view, version);

    if (err != FK_OK)
        return err;
    if (status_ok(demo, view->status))
        return fk_demo_judge_relay(demo, view);
    snprintf(view->failure, sizeof view->failure, "the HTTP status is %d", view->status);
    return FK_ERR_VERIFY;
}

void fk_demo_command(const struct fk_demo *demo, char *dst, size_t size)
{
    const char *ciphers = fk_demo_ciphers(demo);
    bool cert = demo->client_cert[0] != '\0';

    snprintf(dst, size,
             "curl --noproxy " FK_DEMO_NAME " --cacert %s --resolve " FK_DEMO_NAME
             ":%u:127.0.0.1 %s%s%s%s%s%s%s%shttps://" FK_DEMO_NAME ":%u/",
             demo->site_ca, demo->edge_port.number, ciphers != NULL ? "--ciphers " : "",
             ciphers != NULL ? ciphers : "", ciphers != NULL ? " " : "", cert ? "--cert " : "",
             demo->client_cert, cert ? " --key " : "", demo->client_key, cert ? " " : "",
             demo->edge_port.number);
}

/* --- curl --- */

bool fk_demo_has(const char *program)
{
    const char *path = getenv("PATH");
    char file[FK_PATH_SIZE];

    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");

        if (len > 0 && snprintf(file, sizeof file, "%.*s/%s", (int)len, path, program) > 0 &&
            access(file, X_OK) == 0)
            return true;
        path += len + (path[len] == ':' ? 1 : 0);
    }
    return false;
}

/* Start curl with its report in a pipe and the answer's body in a file. */
static int spawn_curl(const struct fk_demo *demo, const struct version_row *version,
                      const char *body_file, pid_t *ret_pid, int *ret_fd)
{
    char resolve[64], url[64], ca[FK_PATH_SIZE], body[FK_PATH_SIZE], timeout[16];
    const char *ciphers = fk_demo_ciphers(demo);
    const char *argv[CURL_ARGS_MAX] = {
        "curl",       "-q",        "-sSv",          "--http1.1", "--noproxy",  "*",
        "--max-time", timeout,     version->option, "--tls-max", version->max, "--cacert",
        ca,           "--resolve", resolve,         "--output",  body,         url};
    size_t n = 18; /* of these */
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    int pipe_fds[2], number;

    if (ciphers != NULL) {
        argv[n++] = "--ciphers";
        argv[n++] = ciphers;
    }
    if (demo->client_cert[0] != '\0') {
        argv[n++] = "--cert";
        argv[n++] = demo->client_cert;
        argv[n++] = "--key";
        argv[n++] = demo->client_key;
    }
    snprintf(timeout, sizeof timeout, "%d", TIMEOUT_S);
    snprintf(resolve, sizeof resolve, FK_DEMO_NAME ":%u:127.0.0.1", demo->edge_port.number);
    snprintf(url, sizeof url, "https://" FK_DEMO_NAME ":%u/", demo->edge_port.number);
    snprintf(ca, sizeof ca, "%s", demo->site_ca);
    snprintf(body, sizeof body, "%s", body_file);
    if (pipe2(pipe_fds, O_CLOEXEC) != 0)
        return FK_ERR_SYS;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDERR_FILENO);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    number =
        posix_spawnp(ret_pid, "curl", &actions, &attr, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(pipe_fds[1]);
    if (number != 0) {
        close(pipe_fds[0]);
        errno = number;
        return FK_ERR_SYS;
    }
    *ret_fd = pipe_fds[0];
    return FK_OK;
}

/* Read to the end, or until the user has enough: the signal stays for who waits next. */
static void read_report(const struct fk_demo *demo, pid_t pid, int fd, char *dst, size_t size)
{
    size_t len = 0;

    for (;;) {
        struct pollfd fds[2] = {{fd, POLLIN, 0}, {demo->signals, POLLIN, 0}};
        char scrap[4096];
        bool room = len < size - 1;
        ssize_t n;

        if (poll(fds, 2, -1) < 0 && errno == EINTR)
            continue;
        if (fds[1].revents != 0) {
            kill(pid, SIGTERM);
            break;
        }
        n = read(fd, room ? dst + len : scrap, room ? size - 1 - len : sizeof scrap);
        if (n <= 0)
            break;
        if (room)
            len += (size_t)n;
    }
    dst[len] = '\0';
}

/* The rest of the first line that begins with `prefix`, up to `end` or the line's. */
static void pick(const char *report, const char *prefix, const char *end, char *dst, size_t size)
{
    const char *line = report;
    size_t skip = strlen(prefix), len;

    while (line != NULL && strncmp(line, prefix, skip) != 0) {
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    if (line == NULL)
        return;
    line += skip;
    len = strcspn(line, "\r\n");
    if (end != NULL && memmem(line, len, end, strlen(end)) != NULL)
        len = (size_t)(strstr(line, end) - line);
    snprintf(dst, size, "%.*s", (int)len, line);
}

/* The status of what follows "HTTP/1." in an answer: "1 200 OK". */
static int status_of(const char *text)
{
    const char *space = strchr(text, ' ');

    return space == NULL ? 0 : (int)strtol(space, NULL, 10);
}

static void parse_report(const char *report, struct fk_demo_view *view)
{
    char status[16] = "", connection[128] = "";
    const char *slash;

    pick(report, "* SSL connection using ", NULL, connection, sizeof connection);
    slash = strstr(connection, " / ");
    if (slash != NULL) {
        snprintf(view->protocol, sizeof view->protocol, "%.*s", (int)(slash - connection),
                 connection);
        snprintf(view->cipher, sizeof view->cipher, "%.*s", (int)strcspn(slash + 3, " "),
                 slash + 3);
    }
    pick(report, "*  subject: ", NULL, view->subject, sizeof view->subject);
    pick(report, "*  issuer: ", NULL, view->issuer, sizeof view->issuer);
    pick(report, "*  SSL certificate verify ", ".", view->verified, sizeof view->verified);
    pick(report, "< HTTP/1.", NULL, status, sizeof status);
    view->status = status_of(status);
}

static void read_body(const char *path, struct fk_demo_view *view)
{
    uint8_t *text = NULL;
    size_t len = 0;

    if (fk_file_read(path, &text, &len) != FK_OK)
        return;
    snprintf(view->body, sizeof view->body, "%s", (const char *)text);
    free(text);
}

int fk_demo_curl(struct fk_demo *demo, enum fk_demo_tls version, struct fk_demo_view *ret)
{
    char body_file[FK_PATH_SIZE];
    char *report = malloc(CURL_LOG_MAX);
    int err, fd = -1, status = -1;
    pid_t pid;

    memset(ret, 0, sizeof *ret);
    if (report == NULL)
        return FK_ERR_NOMEM;
    if ((err = fk_path_join(demo->dir, "answer", body_file)) != FK_OK ||
        (err = spawn_curl(demo, &versions[version], body_file, &pid, &fd)) != FK_OK) {
        free(report);
        return err;
    }
    read_report(demo, pid, fd, report, CURL_LOG_MAX);
    close(fd);
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        pick(report, "curl: ", NULL, ret->failure, sizeof ret->failure);
        if (ret->failure[0] == '\0')
            snprintf(ret->failure, sizeof ret->failure, "curl ended with status %d", status);
    }
    parse_report(report, ret);
    read_body(body_file, ret);
    unlink(body_file);
    free(report);
    return judge_answer(demo, ret, &versions[version]);
}

/* --- connecting --- */

/* errno tells why when this is -1. */
static int dial(const struct sockaddr *addr, socklen_t addr_len, int seconds)
{
    const struct timeval limit = {.tv_sec = seconds};
    int saved, fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, addr, addr_len) != 0) {
        saved = errno;
        fk_close(&fd);
        errno = saved;
    }
    return fd;
}

static int dial_edge(const struct fk_demo *demo)
{
    struct fk_addr addr;

    if (fk_addr_parse("127.0.0.1:0", &addr) != FK_OK)
        return -1;
    fk_addr_set_port(&addr, demo->edge_port.number);
    return dial((const struct sockaddr *)&addr.storage, addr.len, TIMEOUT_S);
}

/* NULL when somebody takes a connection there. */
static const char *trouble_at(const char *host, uint16_t port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[8];
    int fd = -1, err;

    snprintf(service, sizeof service, "%u", port);
    if ((err = getaddrinfo(host, service, &hints, &found)) != 0)
        return gai_strerror(err);
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        fd = dial(at->ai_addr, at->ai_addrlen, ORIGIN_TIMEOUT_S);
    err = fd < 0 ? errno : 0;
    fk_close(&fd);
    freeaddrinfo(found);
    return err == 0 ? NULL : strerror(err);
}

void fk_demo_warn_of_origin(const struct fk_demo *demo)
{
    char host[FK_PATH_SIZE];
    const char *why;
    uint16_t port;

    if (demo->origin == NULL || fk_addr_split(demo->origin, host, sizeof host, &port) != FK_OK ||
        (why = trouble_at(host, port)) == NULL)
        return;
    fprintf(stderr, "farkey demo: nothing answers at the origin %s (%s): requests will fail\n",
            demo->origin, why);
}

/* --- OpenSSL --- */

static void name_text(const X509_NAME *name, char *dst, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = 0;

    if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE) >= 0)
        len = BIO_get_mem_data(bio, &text);
    snprintf(dst, size, "%.*s", (int)len, len > 0 ? text : "");
    BIO_free(bio);
}

static void look(SSL *ssl, struct fk_demo_view *view)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    long result = SSL_get_verify_result(ssl);

    snprintf(view->protocol, sizeof view->protocol, "%s", SSL_get_version(ssl));
    snprintf(view->cipher, sizeof view->cipher, "%s", SSL_get_cipher_name(ssl));
    snprintf(view->verified, sizeof view->verified, "%s",
             result == X509_V_OK ? "ok" : X509_verify_cert_error_string(result));
    if (cert == NULL)
        return;
    name_text(X509_get_subject_name(cert), view->subject, sizeof view->subject);
    name_text(X509_get_issuer_name(cert), view->issuer, sizeof view->issuer);
}

/* One request; the answer ends when the origin closes. */
static void talk(SSL *ssl, struct fk_demo_view *view)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: " FK_DEMO_NAME "\r\nConnection: close\r\n\r\n";
    char answer[FK_DEMO_ORIGIN_OUT];
    const char *body;
    size_t len = 0;

    if (SSL_write(ssl, request, sizeof request - 1) <= 0)
        return;
    while (len < sizeof answer - 1) {
        int n = SSL_read(ssl, answer + len, (int)(sizeof answer - 1 - len));

        if (n <= 0)
            break;
        len += (size_t)n;
    }
    answer[len] = '\0';
    if (strncmp(answer, "HTTP/1.", 7) == 0)
        view->status = status_of(answer + 7);
    body = strstr(answer, "\r\n\r\n");
    if (body != NULL)
        snprintf(view->body, sizeof view->body, "%s", body + 4);
}

static bool show_certificate(const struct fk_demo *demo, SSL_CTX *ctx)
{
    return demo->client_cert[0] == '\0' ||
           (SSL_CTX_use_certificate_file(ctx, demo->client_cert, SSL_FILETYPE_PEM) == 1 &&
            SSL_CTX_use_PrivateKey_file(ctx, demo->client_key, SSL_FILETYPE_PEM) == 1);
}

static SSL_CTX *client_context(const struct fk_demo *demo, int version)
{
    const char *ciphers = fk_demo_ciphers(demo);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if ((ciphers == NULL || SSL_CTX_set_cipher_list(ctx, ciphers) == 1) &&
        SSL_CTX_load_verify_file(ctx, demo->site_ca) == 1 &&
        SSL_CTX_set_min_proto_version(ctx, version) == 1 &&
        SSL_CTX_set_max_proto_version(ctx, version) == 1 && show_certificate(demo, ctx))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

static void fail_tls(struct fk_demo_view *view)
{
    char text[256];

    ERR_error_string_n(ERR_peek_error(), text, sizeof text);
    snprintf(view->failure, sizeof view->failure, "the TLS handshake failed: %s", text);
}

/* Handshake, and a request unless `talk_too` is false. */
static void connect_openssl(const struct fk_demo *demo, const struct version_row *version,
                            bool talk_too, struct fk_demo_view *view)
{
    SSL_CTX *ctx = client_context(demo, version->number);
    SSL *ssl = ctx == NULL ? NULL : SSL_new(ctx);
    int fd = dial_edge(demo);

    memset(view, 0, sizeof *view);
    ERR_clear_error();
    if (fd < 0) {
        snprintf(view->failure, sizeof view->failure, "cannot connect: %s", strerror(errno));
    } else if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_set1_host(ssl, FK_DEMO_NAME) != 1 ||
               SSL_set_tlsext_host_name(ssl, FK_DEMO_NAME) != 1 || SSL_connect(ssl) != 1) {
        fail_tls(view);
    } else {
        look(ssl, view);
        if (talk_too)
            talk(ssl, view);
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    fk_close(&fd);
}

int fk_demo_openssl(struct fk_demo *demo, enum fk_demo_tls version, struct fk_demo_view *ret)
{
    connect_openssl(demo, &versions[version], true, ret);
    return judge_answer(demo, ret, &versions[version]);
}

int fk_demo_handshake(struct fk_demo *demo, enum fk_demo_tls version, struct fk_demo_view *ret)
{
    connect_openssl(demo, &versions[version], false, ret);
    return judge(demo, ret, &versions[version]);
}
