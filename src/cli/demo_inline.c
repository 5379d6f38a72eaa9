/*
 * `farkey demo inline`: three network namespaces in a row, nginx on plain HTTP behind the box, curl
 * before it, tcpdump on both sides of it; shows that TLS is added to one and the same connection.
 *
 * The namespaces have no names: they and their interfaces are gone with the last process that has
 * them, however that ends. Needs root for making them, and nothing else of the host.
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/ctl.h"
#include "cli/demo.h"
#include "cli/options.h"
#include "loop/sock.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENT "10.9.0.1"
#define SERVER "10.9.0.2"
#define PORT   "443"
#define HELLO  "hello from the plain server"

#define READY_US   30000000
#define LOOK_US    20000
#define ASK_US     2000000
#define OUTPUT_MAX 65536
#define WORDS_MAX  16

enum { NS_CLIENT, NS_MIDDLE, NS_SERVER, NS_COUNT };

/* What tcpdump looks for, and what curl is told. */
static const char probe[] = "tcp port " PORT;
static const char place[] = FK_DEMO_NAME ":" PORT ":" SERVER;
static const char url[] = "https://" FK_DEMO_NAME "/";

/* The processes, by their places among the demonstration's. */
enum { PROC_BOX, PROC_NGINX, PROC_CLIENT_SIDE, PROC_SERVER_SIDE };

struct show {
    struct fk_demo demo;
    int ns[NS_COUNT], home;
    char conf[FK_PATH_SIZE], sock[FK_PATH_SIZE], nginx_conf[FK_PATH_SIZE], log[FK_PATH_SIZE];
    char dumped[64], logged[64]; /* the client's end, as tcpdump and as the server name it */
};

/* --- namespaces --- */

static int open_ns(void)
{
    return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int make_namespaces(struct show *show)
{
    int err = FK_OK;

    if ((show->home = open_ns()) < 0)
        return FK_ERR_SYS;
    for (int i = 0; err == FK_OK && i < NS_COUNT; i++)
        if (unshare(CLONE_NEWNET) != 0 || (show->ns[i] = open_ns()) < 0)
            err = FK_ERR_SYS;
    if (setns(show->home, CLONE_NEWNET) != 0)
        err = FK_ERR_SYS;
    return err;
}

/* Run a command line, its words apart by blanks; what it says is shown when it fails. */
static int run_line(const struct show *show, int ns, const char *line)
{
    const char *argv[WORDS_MAX + 1] = {NULL};
    struct fk_demo_program program = {.argv = argv, .netns = show->ns[ns]};
    char *copy = strdup(line), *rest = copy;
    struct fk_buf out;
    int status = 0, err;

    if (copy == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < WORDS_MAX && (argv[i] = strsep(&rest, " ")) != NULL; i++)
        continue;
    fk_buf_init(&out, OUTPUT_MAX);
    err = fk_demo_run(&show->demo, &program, &out, &status);
    if (err == FK_OK && status != 0) {
        fprintf(stderr, "farkey demo inline: failed: %s\n%.*s", line, (int)fk_buf_len(&out),
                (const char *)fk_buf_data(&out));
        err = FK_ERR_UNAVAILABLE;
    }
    fk_buf_fini(&out);
    free(copy);
    return err;
}

/* One end and its way to the box: a pair of interfaces, an address at the end alone. */
static int lay_wire(const struct show *show, int ns, const char *end, const char *inner,
                    const char *address)
{
    char lines[4][160];
    int err = FK_OK;

    snprintf(lines[0], sizeof lines[0],
             "ip link add %s type veth peer name %s netns /proc/%d/fd/%d", end, inner,
             (int)getpid(), show->ns[NS_MIDDLE]);
    snprintf(lines[1], sizeof lines[1], "ip address add %s/24 dev %s", address, end);
    snprintf(lines[2], sizeof lines[2], "ip link set %s up", end);
    snprintf(lines[3], sizeof lines[3], "ip link set %s addrgenmode none up", inner);
    for (int i = 0; err == FK_OK && i < 4; i++)
        err = run_line(show, i < 3 ? ns : NS_MIDDLE, lines[i]);
    return err;
}

/* --- files --- */

static int write_files(struct show *show)
{
    struct fk_demo *demo = &show->demo;
    char cert[FK_PATH_SIZE];
    int err;

    if ((err = fk_path_join(demo->dir, "inline.conf", show->conf)) != FK_OK ||
        (err = fk_path_join(demo->dir, "run/inline.sock", show->sock)) != FK_OK ||
        (err = fk_path_join(demo->dir, "nginx.conf", show->nginx_conf)) != FK_OK ||
        (err = fk_path_join(demo->dir, "access.log", show->log)) != FK_OK ||
        (err = fk_path_join(demo->dir, FK_DEMO_NAME ".key", demo->key_file)) != FK_OK ||
        (err = fk_path_join(demo->dir, FK_DEMO_NAME ".crt", cert)) != FK_OK ||
        (err = fk_demo_make_certificate(demo, cert)) != FK_OK ||
        (err = fk_demo_write(show->conf,
                             "workers = 1\n"
                             "control = \"run/inline.sock\"\n"
                             "wire { client = \"mc\" server = \"ms\" ports = {\"" PORT "\"} }\n"
                             "site \"" FK_DEMO_NAME "\" {\n"
                             "    mode = local\n"
                             "    certificate = {\"" FK_DEMO_NAME ".crt\"}\n"
                             "    key = {\"" FK_DEMO_NAME ".key\"}\n"
                             "}\n"
                             "limits { drain_timeout = 1s }\n")) != FK_OK)
        return err;
    return fk_demo_write(show->nginx_conf,
                         "daemon off; master_process off; pid %1$s/nginx.pid;\n"
                         "error_log stderr;\n"
                         "events { }\n"
                         "http {\n"
                         "    log_format who '$remote_addr:$remote_port \"$request\" $status';\n"
                         "    access_log %1$s/access.log who;\n"
                         "    client_body_temp_path %1$s/t1; proxy_temp_path %1$s/t2;\n"
                         "    fastcgi_temp_path %1$s/t3; uwsgi_temp_path %1$s/t4;\n"
                         "    scgi_temp_path %1$s/t5;\n"
                         "    server {\n"
                         "        listen " PORT ";\n"
                         "        location / { return 200 \"" HELLO "\\n\"; }\n"
                         "    }\n"
                         "}\n",
                         demo->dir);
}

/* --- processes --- */

static int start_dump(struct show *show, int which, const char *name, const char *device)
{
    const char *const argv[] = {"tcpdump",          "-l",  "-n", "-A", "-Z", "root", "-i", device,
                                "--immediate-mode", probe, NULL};
    const struct fk_demo_program program = {
        .name = name, .argv = argv, .netns = show->ns[NS_MIDDLE]};

    return fk_demo_start_program(&show->demo, which, &program);
}

static int start(struct show *show)
{
    const char *const box[] = {"farkey", "inline", "-c", show->conf, NULL};
    const char *const nginx[] = {"nginx",          "-e", "stderr",       "-c",
                                 show->nginx_conf, "-p", show->demo.dir, NULL};
    const struct fk_demo_program programs[] = {
        [PROC_BOX] = {"inline", box, show->ns[NS_MIDDLE]},
        [PROC_NGINX] = {"nginx", nginx, show->ns[NS_SERVER]},
    };
    int err;

    if ((err = fk_demo_start_program(&show->demo, PROC_NGINX, &programs[PROC_NGINX])) != FK_OK ||
        (err = fk_demo_start_program(&show->demo, PROC_BOX, &programs[PROC_BOX])) != FK_OK ||
        (err = start_dump(show, PROC_CLIENT_SIDE, "client-side", "mc")) != FK_OK)
        return err;
    return start_dump(show, PROC_SERVER_SIDE, "server-side", "ms");
}

static bool file_has(const char *path, const char *text)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    bool has;

    if (fk_file_read(path, &bytes, &len) != FK_OK)
        return false;
    has = memmem(bytes, len, text, strlen(text)) != NULL;
    free(bytes);
    return has;
}

static bool dumps_listen(struct show *show)
{
    return file_has(show->demo.procs[PROC_CLIENT_SIDE].log, "listening on") &&
           file_has(show->demo.procs[PROC_SERVER_SIDE].log, "listening on");
}

static bool nginx_listens(struct show *show)
{
    char path[FK_PATH_SIZE];

    return fk_path_join(show->demo.dir, "nginx.pid", path) == FK_OK && file_has(path, "\n");
}

static bool box_ready(struct show *show)
{
    json_t *answer = NULL;
    bool ready;

    if (fk_ctl_ask(show->sock, "status", NULL, ASK_US, &answer) != FK_OK)
        return false;
    ready = json_is_true(json_object_get(answer, "ready"));
    json_decref(answer);
    return ready;
}

static int wait_for(struct show *show, bool (*holds)(struct show *show), const char *what)
{
    uint64_t deadline_us = fk_clock_us() + READY_US;
    int err;

    while (!holds(show)) {
        if ((err = fk_demo_wait(&show->demo, LOOK_US)) != FK_OK)
            return err;
        if (fk_clock_us() > deadline_us) {
            fprintf(stderr, "farkey demo inline: waited in vain: %s\n", what);
            return FK_ERR_TIMEOUT;
        }
    }
    return FK_OK;
}

/* --- the show --- */

/* A request from the client's namespace. *ret: "ADDRESS PORT" of the client's end, to be freed. */
static int request(const struct show *show, const char *version, char **ret)
{
    const char *const argv[] = {"curl",
                                "-q",
                                "-sS",
                                "--max-time",
                                "15",
                                "--noproxy",
                                "*",
                                "--tls-max",
                                version,
                                "--cacert",
                                show->demo.site_ca,
                                "--resolve",
                                place,
                                "-w",
                                "%{local_ip} %{local_port}",
                                url,
                                NULL};
    const struct fk_demo_program program = {.argv = argv, .netns = show->ns[NS_CLIENT]};
    struct fk_buf out;
    int status = 0, err;
    char *text;

    fk_buf_init(&out, OUTPUT_MAX);
    err = fk_demo_run(&show->demo, &program, &out, &status);
    text = err == FK_OK ? strndup((const char *)fk_buf_data(&out), fk_buf_len(&out)) : NULL;
    fk_buf_fini(&out);
    if (text == NULL)
        return err == FK_OK ? FK_ERR_NOMEM : err;
    if (status != 0 || strncmp(text, HELLO "\n", sizeof HELLO) != 0) {
        fprintf(stderr, "farkey demo inline: curl: %s\n", text);
        free(text);
        return FK_ERR_UNAVAILABLE;
    }
    printf("\n$ curl --tls-max %s --cacert ca.crt https://" FK_DEMO_NAME "/    # " SERVER "\n" HELLO
           "\n",
           version);
    *ret = strdup(text + sizeof HELLO);
    free(text);
    return *ret == NULL ? FK_ERR_NOMEM : FK_OK;
}

/* Print the opening's packets of a connection that one side's tcpdump has seen. False: it has not
 * seen both. */
static bool print_opening(const char *path, const char *client)
{
    static const char *const flags[] = {"Flags [S]", "Flags [S.]"};
    uint8_t *text = NULL;
    char *line, *rest;
    size_t len, found = 0;

    if (fk_file_read(path, &text, &len) != FK_OK)
        return false;
    rest = (char *)text; /* NUL-terminated */
    while (found < 2 && (line = strsep(&rest, "\n")) != NULL)
        if (strstr(line, client) != NULL && strstr(line, flags[found]) != NULL) {
            printf("  %.*s\n", (int)(strstr(line, "]") - line) + 1, line);
            found++;
        }
    free(text);
    return found == 2;
}

/* "ADDRESS PORT" with another separator. */
static void name_client(const char *local, char separator, char ret[64])
{
    const char *port = strchr(local, ' ');

    snprintf(ret, 64, "%.*s%c%s", port == NULL ? 0 : (int)(port - local), local, separator,
             port == NULL ? "" : port + 1);
}

static bool print_log(const struct show *show)
{
    uint8_t *text = NULL;
    char *line, *rest;
    size_t len;
    bool found = false;

    if (fk_file_read(show->log, &text, &len) != FK_OK)
        return false;
    rest = (char *)text;
    while ((line = strsep(&rest, "\n")) != NULL)
        if (strncmp(line, show->logged, strlen(show->logged)) == 0) {
            printf("  %s\n", line);
            found = true;
        }
    free(text);
    return found;
}

/* All three have written down what they saw; the server's side saw it plain. */
static bool is_written(struct show *show)
{
    const struct fk_demo_proc *procs = show->demo.procs;
    char answer[128];

    snprintf(answer, sizeof answer, " > %s: Flags [S.]", show->dumped);
    return file_has(procs[PROC_CLIENT_SIDE].log, answer) &&
           file_has(procs[PROC_SERVER_SIDE].log, answer) &&
           file_has(procs[PROC_SERVER_SIDE].log, HELLO) && file_has(show->log, show->logged);
}

static int fail(const char *what)
{
    fprintf(stderr, "farkey demo inline: %s\n", what);
    return FK_ERR_VERIFY;
}

static int show_connection(struct show *show, const char *version)
{
    const struct fk_demo_proc *procs = show->demo.procs;
    char *local = NULL;
    int err;

    if ((err = fk_demo_wait(&show->demo, 0)) != FK_OK || /* a signal may have come */
        (err = request(show, version, &local)) != FK_OK)
        return err;
    name_client(local, '.', show->dumped);
    name_client(local, ':', show->logged);
    free(local);
    if ((err = wait_for(show, is_written,
                        "tcpdump on both sides and the server's log have the client's "
                        "connection")) != FK_OK)
        return err;
    puts("tcpdump on the client's side of the box");
    if (!print_opening(procs[PROC_CLIENT_SIDE].log, show->dumped))
        return fail("there is no opening on the client's side");
    puts("tcpdump on the server's side");
    if (!print_opening(procs[PROC_SERVER_SIDE].log, show->dumped))
        return fail("there is no opening on the server's side");
    puts("the server's log");
    if (!print_log(show))
        return fail("the server's log does not have the client's address");
    if (file_has(procs[PROC_CLIENT_SIDE].log, HELLO))
        return fail("the answer is there in plain on the client's side");
    return FK_OK;
}

static int perform(struct show *show)
{
    int err;

    if ((err = make_namespaces(show)) != FK_OK)
        return err;
    if ((err = lay_wire(show, NS_CLIENT, "c0", "mc", CLIENT)) != FK_OK ||
        (err = lay_wire(show, NS_SERVER, "s0", "ms", SERVER)) != FK_OK ||
        (err = start(show)) != FK_OK ||
        (err = wait_for(show, nginx_listens, "nginx listens")) != FK_OK ||
        (err = wait_for(show, dumps_listen, "tcpdump listens")) != FK_OK ||
        (err = wait_for(show, box_ready, "the box is ready")) != FK_OK)
        return err;
    puts("Three network namespaces in a row; only the ends have addresses:\n\n"
         "  curl " CLIENT " --- mc  farkey inline  ms --- " SERVER ":" PORT " nginx, plain HTTP");
    if ((err = show_connection(show, "1.2")) != FK_OK ||
        (err = show_connection(show, "1.3")) != FK_OK)
        return err;
    puts("\nOne and the same connection on both sides: TLS on the client's, plain HTTP on the "
         "server's,\nwhose log has the client's own address and port.");
    return fk_demo_wait(&show->demo, 0);
}

/* --- life --- */

/* What the host must have; all that it lacks is said at once. */
static bool host_will_do(void)
{
    static const char *const programs[] = {"ip", "nginx", "curl", "tcpdump"};
    bool all = true;

    if (geteuid() != 0) {
        fputs("farkey demo inline: it makes network namespaces, which needs root; run it with "
              "sudo\n",
              stderr);
        return false;
    }
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        if (!fk_demo_has(programs[i])) {
            fprintf(stderr, "farkey demo inline: %s is not there\n", programs[i]);
            all = false;
        }
    if (!all)
        fputs("farkey demo inline: on Debian: apt-get install iproute2 nginx-light curl tcpdump\n",
              stderr);
    return all;
}

static int run(struct show *show)
{
    struct fk_demo *demo = &show->demo;
    int err;

    if ((err = fk_demo_procs_init(demo)) != FK_OK)
        return fk_command_fail("cannot start the", "demonstration", err);
    fk_demo_dirs_sweep();
    if ((err = fk_demo_dir_make(demo)) != FK_OK || (err = write_files(show)) != FK_OK)
        fk_command_fail("cannot lay out", demo->dir[0] != '\0' ? demo->dir : "a directory", err);
    else if ((err = perform(show)) != FK_OK && err != FK_ERR_CANCELLED)
        fk_command_fail("cannot show", "the inline box", err);
    fflush(stdout);
    fk_demo_procs_fini(demo);
    for (int i = 0; i < NS_COUNT; i++)
        fk_close(&show->ns[i]);
    fk_close(&show->home);
    if (fk_demo_dir_remove(demo) != FK_OK)
        fk_command_fail("cannot remove", demo->dir, FK_ERR_SYS);
    else if (err == FK_OK)
        puts("Nothing is left: namespaces and processes are gone, the directory is removed.");
    return err == FK_OK ? 0 : 1;
}

int fk_cmd_demo_inline(int argc, char **argv)
{
    static const struct fk_opt options[] = {{NULL, 0, FK_OPT_FLAG, 0, NULL, NULL, 0, 0, NULL}};
    static const struct fk_opt_command command = {
        "farkey demo inline",
        "",
        "Put the inline box between curl and an nginx on plain HTTP, in network namespaces of "
        "their own,\nand show on both sides of it that the connection is one and the same. Needs "
        "root, nginx, curl,\nand tcpdump.",
        options,
        0,
        0};
    struct show show = {
        .demo = {.key = 1, .kx = -1, .signals = -1, .lock = -1}, .ns = {-1, -1, -1}, .home = -1};
    int first, err = fk_opt_parse(&command, &show, argc, argv, &first);

    if (err != FK_OK)
        return fk_opt_status(err);
    if (!host_will_do())
        return 1;
    fk_log_role("demo");
    setvbuf(stdout, NULL, _IOLBF, 0); /* it is read while it goes on */
    return run(&show);
}
