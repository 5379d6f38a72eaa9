/*
 * What the demonstration prints: the pair, what clients saw, and every process with its network
 * sockets, as /proc tells them.
 */
#include "cli/demo.h"

#include "base/err.h"

#include <dirent.h>
#include <jansson.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sockets of this machine that are looked through; processes of the pair. */
#define INODES_MAX 16384
#define ROWS_MAX   64

/* Of a line that the origin has answered. */
#define LINE_MAX_SHOWN 80

/* --- the pair and the clients --- */

static const char *const mode_texts[] = {
    [FK_DEMO_SIGN] = "sign: the key server signs each full handshake",
    [FK_DEMO_DECRYPT] = "decrypt: the key server decrypts the premaster secret (TLS 1.2 RSA)",
    [FK_DEMO_HANDSHAKE] = "handshake: the key server makes the whole handshake",
    [FK_DEMO_LEND] = "lend: the key server lends the key to a signer process of the edge's",
    [FK_DEMO_AGREE] = "agree: the key server makes the ephemeral key (TLS 1.2)",
    [FK_DEMO_MASTER] = "master: the key server derives the master secret (TLS 1.2)",
    [FK_DEMO_KEYS] = "keys: the key server derives the session's keys",
    [FK_DEMO_LOCAL] = "local: the key is in a signer process of the edge's own",
};

void fk_demo_show_pair(const struct fk_demo *demo, FILE *out)
{
    fprintf(out, "While it runs, everything is in %s\n", demo->dir);
    fprintf(out, "  edge        127.0.0.1:%-5u  pid %d\n", demo->edge_port.number,
            (int)demo->procs[FK_DEMO_EDGE].pid);
    fprintf(out, "  key server  127.0.0.1:%-5u  pid %d%s\n", demo->keyd_port.number,
            (int)demo->procs[FK_DEMO_KEYD].pid,
            demo->dial ? ", which dials: there the edge waits for it" : "");
    if (demo->rtt_us > 0)
        fprintf(out, "  between     127.0.0.1:%-5u  pid %d, %.1f ms there and back\n",
                demo->relay_port.number, (int)demo->procs[FK_DEMO_RELAY].pid,
                (double)demo->rtt_us / 1000);
    if (demo->origin == NULL)
        fprintf(out, "  origin      %-15s  pid %d\n", demo->origin_address,
                (int)demo->procs[FK_DEMO_ORIGIN].pid);
    else
        fprintf(out, "  origin      %s\n", demo->origin_address);
    fprintf(out, "  site's key  %s\n", demo->key_file);
    if (demo->client_cert[0] != '\0')
        fprintf(out, "  client      %s\n", demo->client_cert);
    if (demo->relay != NULL)
        fprintf(out, "  relayed by  %s\n", demo->relay);
    fprintf(out, "  mode        %s\n", mode_texts[demo->mode]);
}

void fk_demo_show_view(const struct fk_demo_view *view, const char *client, FILE *out)
{
    fprintf(out, "\n%s\n", client);
    fprintf(out, "  protocol     %s\n", view->protocol);
    fprintf(out, "  cipher       %s\n", view->cipher);
    fprintf(out, "  certificate  %s\n", view->subject);
    fprintf(out, "  issued by    %s\n", view->issuer);
    fprintf(out, "  verified     %s\n", view->verified);
    fprintf(out, "  HTTP status  %d\n", view->status);
    for (const char *line = view->body; *line != '\0';) {
        size_t len = strcspn(line, "\n");

        if (len > LINE_MAX_SHOWN)
            fprintf(out, "  | %.*s... (%zu characters)\n", LINE_MAX_SHOWN, line, len);
        else
            fprintf(out, "  | %.*s\n", (int)len, line);
        line += len + (line[len] == '\n' ? 1 : 0);
    }
    if (view->failure[0] != '\0')
        fprintf(out, "  FAILED: %s\n", view->failure);
}

void fk_demo_show_json(const struct fk_demo *demo, FILE *out)
{
    const struct fk_demo_proc *procs = demo->procs;
    char edge[32], keyd[32], command[2 * FK_PATH_SIZE];
    json_t *object, *origin_pid = json_null();

    if (demo->origin == NULL)
        origin_pid = json_integer(procs[FK_DEMO_ORIGIN].pid);
    snprintf(edge, sizeof edge, "127.0.0.1:%u", demo->edge_port.number);
    snprintf(keyd, sizeof keyd, "127.0.0.1:%u", demo->keyd_port.number);
    fk_demo_command(demo, command, sizeof command);
    object = json_pack("{s:{s:s,s:i},s:{s:s,s:i},s:{s:s,s:o},s:s,s:s,s:s,s:s}", "edge", "address",
                       edge, "pid", (int)procs[FK_DEMO_EDGE].pid, "keyd",
                       demo->dial ? "dials" : "address", keyd, "pid", (int)procs[FK_DEMO_KEYD].pid,
                       "origin", "address", demo->origin_address, "pid", origin_pid, "name",
                       FK_DEMO_NAME, "dir", demo->dir, "ca", demo->site_ca, "command", command);
    if (demo->client_cert[0] != '\0')
        (void)json_object_update_new(object, json_pack("{s:{s:s,s:s}}", "client", "certificate",
                                                       demo->client_cert, "key", demo->client_key));
    json_dumpf(object, out, JSON_COMPACT | JSON_PRESERVE_ORDER);
    fputc('\n', out);
    fflush(out);
    json_decref(object);
}

/* --- processes --- */

struct inodes {
    size_t count;
    unsigned long items[INODES_MAX];
};

static void read_inodes(const char *path, struct inodes *ret)
{
    char line[512];
    FILE *in = fopen(path, "re");

    if (in == NULL)
        return;
    while (fgets(line, sizeof line, in) != NULL && ret->count < INODES_MAX)
        if (sscanf(line, "%*d: %*s %*s %*s %*s %*s %*s %*s %*s %lu", &ret->items[ret->count]) == 1)
            ret->count++;
    fclose(in);
}

static bool has_inode(const struct inodes *inodes, unsigned long inode)
{
    for (size_t i = 0; i < inodes->count; i++)
        if (inodes->items[i] == inode)
            return true;
    return false;
}

/* Network sockets among a process's descriptors; -1 when it cannot be looked into. */
static int count_sockets(pid_t pid, const struct inodes *inodes)
{
    char path[64], target[128];
    const struct dirent *entry;
    int n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    if (dir == NULL)
        return -1;
    while ((entry = readdir(dir)) != NULL) {
        unsigned long inode;
        ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);

        if (len <= 0)
            continue;
        target[len] = '\0';
        if (sscanf(target, "socket:[%lu]", &inode) == 1 && has_inode(inodes, inode))
            n++;
    }
    closedir(dir);
    return n;
}

struct row {
    pid_t pid, parent;
    char name[32];
};

/* "PID (NAME) STATE PARENT ..."; a name may hold spaces and parentheses. */
static bool read_row(const char *pid_text, struct row *ret)
{
    char path[300], line[512];
    const char *open, *close;
    FILE *in;
    bool ok;

    snprintf(path, sizeof path, "/proc/%s/stat", pid_text);
    in = fopen(path, "re");
    if (in == NULL)
        return false;
    ok = fgets(line, sizeof line, in) != NULL;
    fclose(in);
    open = ok ? strchr(line, '(') : NULL;
    close = ok ? strrchr(line, ')') : NULL;
    if (open == NULL || close == NULL || sscanf(close + 1, " %*c %d", &ret->parent) != 1)
        return false;
    ret->pid = (pid_t)strtol(line, NULL, 10);
    snprintf(ret->name, sizeof ret->name, "%.*s", (int)(close - open - 1), open + 1);
    return true;
}

/* The children of a master. */
static size_t find_children(pid_t parent, struct row rows[ROWS_MAX])
{
    DIR *dir = opendir("/proc");
    const struct dirent *entry;
    size_t n = 0;

    if (dir == NULL)
        return 0;
    while (n < ROWS_MAX && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            read_row(entry->d_name, &rows[n]) && rows[n].parent == parent)
            n++;
    closedir(dir);
    return n;
}

static void user_of(pid_t pid, char *dst, size_t size)
{
    const struct passwd *user;
    char path[64];
    FILE *in;
    unsigned uid = 0;
    char line[128];

    /* The owner of /proc/PID is root for processes that are not dumpable; the status tells. */
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    in = fopen(path, "re");
    snprintf(dst, size, "?");
    if (in == NULL)
        return;
    while (fgets(line, sizeof line, in) != NULL) {
        if (sscanf(line, "Uid: %u", &uid) != 1)
            continue;
        user = getpwuid(uid);
        snprintf(dst, size, "%s", user != NULL ? user->pw_name : "?");
        break;
    }
    fclose(in);
}

/* What one daemon's rows are printed with. */
struct listing {
    const char *daemon;
    const char *note; /* on its signers; NULL: nothing to say */
    const struct inodes *inodes;
    FILE *out;
};

static void show_row(const struct row *row, const struct listing *listing)
{
    bool noted = listing->note != NULL && strncmp(row->name, "signer", 6) == 0;
    char user[64], sockets[32];
    int n = count_sockets(row->pid, listing->inodes);

    if (n >= 0)
        snprintf(sockets, sizeof sockets, "%d", n);
    else
        snprintf(sockets, sizeof sockets, "closed to look");
    user_of(row->pid, user, sizeof user);
    fprintf(listing->out, "  %-11s %-14s %7d  %-8s  %s%s%s\n", listing->daemon, row->name,
            (int)row->pid, user, sockets, noted ? "  <- " : "", noted ? listing->note : "");
}

static void show_daemon(pid_t master, const struct listing *listing)
{
    struct row rows[ROWS_MAX];
    struct row self = {.pid = master, .name = "master"};
    size_t n = find_children(master, rows);

    show_row(&self, listing);
    for (size_t i = 0; i < n; i++)
        show_row(&rows[i], listing);
}

void fk_demo_show_processes(const struct fk_demo *demo, FILE *out)
{
    static const char *const tables[] = {"/proc/net/tcp",  "/proc/net/tcp6", "/proc/net/udp",
                                         "/proc/net/udp6", "/proc/net/raw",  "/proc/net/raw6"};
    struct inodes *inodes = calloc(1, sizeof *inodes);
    static const char holds[] = "holds the key";
    const char *edge = NULL, *keyd = holds;

    if (inodes == NULL)
        return;
    if (demo->mode == FK_DEMO_LOCAL) {
        edge = holds;
        keyd = NULL;
    } else if (demo->mode == FK_DEMO_LEND) {
        edge = "was lent the key, for a minute";
    }
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        read_inodes(tables[i], inodes);
    fprintf(out, "\nWhere the site's private key is\n"
                 "  daemon      process            pid  user      network sockets\n");
    show_daemon(demo->procs[FK_DEMO_EDGE].pid, &(struct listing){"edge", edge, inodes, out});
    show_daemon(demo->procs[FK_DEMO_KEYD].pid, &(struct listing){"key server", keyd, inodes, out});
    free(inodes);
    if (geteuid() != 0)
        fputs("  (\"closed to look\": the process lets not even its own user look into it;\n"
              "  run as root to see that a signer has no network socket)\n",
              out);
}
