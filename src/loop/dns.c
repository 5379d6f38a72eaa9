/*
 * Names to addresses: see dns.h.
 *
 * c-ares does the protocol; this file gives it the loop's descriptors and timer, and keeps what it
 * answered. All queries for one name share one entry, which is under way or answered. c-ares may
 * answer from inside a call: an answer only starts deferred calls, so no owner is ever called from
 * within c-ares or fk_dns_resolve().
 */
#include "loop/dns.h"

#include "base/err.h"
#include "base/limits.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_TIMEOUT_MS 2000
#define DEFAULT_TRIES      2

struct fk_dns_entry {
    struct fk_list link; /* in fk_dns.entries, oldest first */
    struct fk_dns *dns;
    struct fk_list waiters; /* queries, until they are answered */
    bool pending;           /* c-ares holds a pointer to this entry */
    uint64_t expires_us;
    int err;
    size_t n_addrs;
    struct fk_addr addrs[FK_DNS_ADDRS_MAX];
    char host[FK_HOST_MAX + 1];
};

/* A socket of c-ares that the loop watches for it. */
struct dns_socket {
    struct fk_io io;
    struct fk_dns *dns;
    bool used;
};

struct fk_dns {
    struct fk_loop *loop;
    ares_channel channel;
    struct fk_timer timer; /* when c-ares wants to look at its own */
    struct fk_list entries;
    size_t n_entries;
    bool closing;
    struct dns_socket sockets[FK_DNS_SOCKETS_MAX];
};

/* --- c-ares in the loop --- */

static void set_timer(struct fk_dns *dns)
{
    struct timeval tv;

    if (ares_timeout(dns->channel, NULL, &tv) == NULL)
        fk_timer_stop(&dns->timer);
    else
        fk_timer_start(&dns->timer, (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec);
}

static void on_timer(struct fk_timer *timer)
{
    struct fk_dns *dns = fk_container(timer, struct fk_dns, timer);

    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(dns);
}

static void on_socket(struct fk_io *io, unsigned events)
{
    struct dns_socket *sock = fk_container(io, struct dns_socket, io);
    struct fk_dns *dns = sock->dns;
    int fd = fk_io_fd(io);

    ares_process_fd(dns->channel, (events & FK_IO_READ) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & FK_IO_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
    set_timer(dns);
}

/* The slot that watches `fd`, else a free one, else NULL. */
static struct dns_socket *find_socket(struct fk_dns *dns, int fd)
{
    struct dns_socket *vacant = NULL;

    for (size_t i = 0; i < FK_DNS_SOCKETS_MAX; i++) {
        struct dns_socket *sock = &dns->sockets[i];

        if (sock->used && fk_io_fd(&sock->io) == fd)
            return sock;
        if (!sock->used && vacant == NULL)
            vacant = sock;
    }
    return vacant;
}

/* c-ares wants to know when `fd` is readable or writable; neither means that it closes it. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
    struct fk_dns *dns = data;
    struct dns_socket *sock = find_socket(dns, fd);
    unsigned events = (readable ? FK_IO_READ : 0) | (writable ? FK_IO_WRITE : 0);

    if (sock == NULL || (events == 0 && !sock->used))
        return; /* without a slot its queries run into their time-out */
    if (!sock->used) {
        sock->used = true;
        sock->dns = dns;
        fk_io_init(&sock->io, dns->loop, fd, on_socket);
    }
    fk_io_want(&sock->io, events);
    if (events == 0)
        sock->used = false;
}

/* --- entries --- */

static bool is_idle(const struct fk_dns_entry *entry)
{
    return !entry->pending && fk_list_empty(&entry->waiters);
}

static void free_entry(struct fk_dns_entry *entry)
{
    fk_list_del(&entry->link);
    entry->dns->n_entries--;
    free(entry);
}

static bool is_current(const struct fk_dns_entry *entry)
{
    return entry->pending || fk_loop_now_us(entry->dns->loop) < entry->expires_us;
}

/* An entry for `host`: under way, still believed, or to be asked anew. */
static struct fk_dns_entry *find_entry(struct fk_dns *dns, const char *host)
{
    struct fk_list *item;

    fk_list_each (item, &dns->entries) {
        struct fk_dns_entry *entry = fk_container(item, struct fk_dns_entry, link);

        if (strcasecmp(entry->host, host) == 0 && (is_current(entry) || is_idle(entry)))
            return entry;
    }
    return NULL;
}

static void renew_entry(struct fk_dns_entry *entry)
{
    fk_list_del(&entry->link);
    fk_list_append(&entry->dns->entries, &entry->link);
    entry->n_addrs = 0;
}

static void evict_oldest(struct fk_dns *dns)
{
    struct fk_list *item, *temp;

    fk_list_each_safe (item, temp, &dns->entries) {
        struct fk_dns_entry *entry = fk_container(item, struct fk_dns_entry, link);

        if (is_idle(entry)) {
            free_entry(entry);
            return;
        }
    }
}

static int new_entry(struct fk_dns *dns, const char *host, struct fk_dns_entry **ret)
{
    struct fk_dns_entry *entry;

    if (dns->n_entries >= FK_DNS_CACHE_MAX)
        evict_oldest(dns);
    if (dns->n_entries >= FK_DNS_CACHE_MAX)
        return FK_ERR_LIMIT;
    entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return FK_ERR_NOMEM;
    entry->dns = dns;
    memcpy(entry->host, host, strlen(host) + 1); /* checked by the caller */
    fk_list_init(&entry->waiters);
    fk_list_append(&dns->entries, &entry->link);
    dns->n_entries++;
    *ret = entry;
    return FK_OK;
}

/* --- answers --- */

static int error_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return FK_OK;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
    case ARES_EBADNAME:
        return FK_ERR_NOT_FOUND;
    case ARES_ETIMEOUT:
        return FK_ERR_TIMEOUT;
    case ARES_ENOMEM:
        return FK_ERR_NOMEM;
    default:
        return FK_ERR_UNAVAILABLE;
    }
}

/* Tell all who wait, soon. */
static void settle(struct fk_dns_entry *entry, int err, uint64_t ttl_s)
{
    struct fk_list *item;

    entry->pending = false;
    entry->err = err;
    entry->expires_us = fk_loop_now_us(entry->dns->loop) + ttl_s * 1000000;
    fk_list_each (item, &entry->waiters)
        fk_defer_start(&fk_container(item, struct fk_dns_query, link)->defer);
}

/* Copy the addresses; *ret_ttl_s is the shortest life among them. */
static void take_addresses(struct fk_dns_entry *entry, const struct ares_addrinfo *info,
                           uint64_t *ret_ttl_s)
{
    uint64_t ttl = FK_DNS_TTL_MAX_S;

    for (const struct ares_addrinfo_node *node = info->nodes; node != NULL; node = node->ai_next) {
        struct fk_addr *addr = &entry->addrs[entry->n_addrs];
        uint64_t life = node->ai_ttl > FK_DNS_TTL_MIN_S ? (uint64_t)node->ai_ttl : FK_DNS_TTL_MIN_S;

        if (entry->n_addrs == FK_DNS_ADDRS_MAX)
            break;
        if (node->ai_addrlen > sizeof addr->storage)
            continue;
        memcpy(&addr->storage, node->ai_addr, node->ai_addrlen);
        addr->len = node->ai_addrlen;
        entry->n_addrs++;
        ttl = life < ttl ? life : ttl;
    }
    *ret_ttl_s = ttl;
}

static void on_answer(void *data, int status, int timeouts, struct ares_addrinfo *info)
{
    struct fk_dns_entry *entry = data;
    uint64_t ttl_s = FK_DNS_TTL_FAILED_S;
    int err = error_of(status);

    (void)timeouts;
    if (entry->dns->closing)
        goto out;
    if (err == FK_OK) {
        take_addresses(entry, info, &ttl_s);
        if (entry->n_addrs == 0)
            err = FK_ERR_NOT_FOUND;
    }
    settle(entry, err, ttl_s);
out:
    if (info != NULL)
        ares_freeaddrinfo(info);
}

/* Give a query its answer. The entry may go in the callback, so the answer is a copy. */
static void on_deliver(struct fk_defer *defer)
{
    struct fk_dns_query *query = fk_container(defer, struct fk_dns_query, defer);
    const struct fk_dns_entry *entry = query->entry;
    struct fk_addr addrs[FK_DNS_ADDRS_MAX];
    size_t n_addrs = entry->n_addrs;
    int err = entry->err;

    for (size_t i = 0; i < n_addrs; i++) {
        addrs[i] = entry->addrs[i];
        fk_addr_set_port(&addrs[i], query->port);
    }
    fk_list_del(&query->link);
    query->entry = NULL;
    query->cb(query, err, addrs, n_addrs);
}

/* --- questions --- */

/* Addresses, and "localhost", which never leaves the host (RFC 6761 section 6.3). */
static bool answer_at_once(struct fk_dns_entry *entry, const char *host)
{
    static const char local[] = "localhost";
    size_t len = strlen(host);
    uint8_t ip[16];

    if (inet_pton(AF_INET, host, ip) == 1) {
        entry->n_addrs = fk_addr_from_ip(ip, 4, 0, &entry->addrs[0]) == FK_OK;
    } else if (inet_pton(AF_INET6, host, ip) == 1) {
        entry->n_addrs = fk_addr_from_ip(ip, 16, 0, &entry->addrs[0]) == FK_OK;
    } else if (len >= sizeof local - 1 && strcasecmp(host + len - sizeof local + 1, local) == 0 &&
               (len == sizeof local - 1 || host[len - sizeof local] == '.')) {
        (void)fk_addr_parse("127.0.0.1:0", &entry->addrs[0]);
        (void)fk_addr_parse("[::1]:0", &entry->addrs[1]);
        entry->n_addrs = 2;
    } else {
        return false;
    }
    return true;
}

static void ask(struct fk_dns_entry *entry)
{
    static const struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
                                                     .ai_socktype = SOCK_STREAM};

    entry->pending = true;
    ares_getaddrinfo(entry->dns->channel, entry->host, NULL, &hints, on_answer, entry);
    set_timer(entry->dns);
}

static bool is_host(const char *host)
{
    uint8_t ip[16];

    return strlen(host) <= FK_HOST_MAX &&
           (inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1 ||
            (host[0] != '\0' && fk_addr_is_name(host)));
}

void fk_dns_query_init(struct fk_dns_query *query)
{
    memset(query, 0, sizeof *query);
    fk_list_init(&query->link);
}

int fk_dns_resolve(struct fk_dns *dns, struct fk_dns_query *query, const char *host, uint16_t port,
                   fk_dns_cb *cb)
{
    struct fk_dns_entry *entry;
    bool known;
    int err;

    if (!is_host(host))
        return FK_ERR_FORMAT;
    entry = find_entry(dns, host);
    known = entry != NULL && is_current(entry);
    if (entry == NULL) {
        err = new_entry(dns, host, &entry);
        if (err != FK_OK)
            return err;
    } else if (!known) {
        renew_entry(entry);
    }
    query->entry = entry;
    query->port = port;
    query->cb = cb;
    fk_defer_init(&query->defer, dns->loop, on_deliver);
    fk_list_append(&entry->waiters, &query->link);
    if (!known && answer_at_once(entry, host))
        settle(entry, FK_OK, FK_DNS_TTL_MAX_S);
    else if (!known)
        ask(entry);
    else if (!entry->pending)
        fk_defer_start(&query->defer);
    return FK_OK;
}

void fk_dns_cancel(struct fk_dns_query *query)
{
    if (query->entry == NULL)
        return;
    fk_defer_stop(&query->defer);
    fk_list_del(&query->link);
    query->entry = NULL;
}

/* --- life --- */

static int init_channel(struct fk_dns *dns, const struct fk_dns_options *options)
{
    struct ares_options ares = {.timeout = DEFAULT_TIMEOUT_MS,
                                .tries = DEFAULT_TRIES,
                                .sock_state_cb = on_socket_state,
                                .sock_state_cb_data = dns};
    int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    int status;

    if (options != NULL && options->timeout_ms != 0)
        ares.timeout = (int)options->timeout_ms;
    if (options != NULL && options->tries != 0)
        ares.tries = (int)options->tries;
    status = ares_init_options(&dns->channel, &ares, mask);
    if (status != ARES_SUCCESS)
        return status == ARES_ENOMEM ? FK_ERR_NOMEM : FK_ERR_SYS;
    if (options == NULL || options->servers == NULL)
        return FK_OK;
    status = ares_set_servers_ports_csv(dns->channel, options->servers);
    if (status == ARES_SUCCESS)
        return FK_OK;
    ares_destroy(dns->channel);
    return status == ARES_ENOMEM ? FK_ERR_NOMEM : FK_ERR_INVAL;
}

int fk_dns_new(struct fk_loop *loop, const struct fk_dns_options *options, struct fk_dns **ret)
{
    struct fk_dns *dns;
    int err;

    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return FK_ERR_SYS;
    dns = calloc(1, sizeof *dns);
    if (dns == NULL) {
        ares_library_cleanup();
        return FK_ERR_NOMEM;
    }
    dns->loop = loop;
    fk_list_init(&dns->entries);
    fk_timer_init(&dns->timer, loop, on_timer);
    err = init_channel(dns, options);
    if (err != FK_OK) {
        free(dns);
        ares_library_cleanup();
        return err;
    }
    *ret = dns;
    return FK_OK;
}

void fk_dns_free(struct fk_dns *dns)
{
    struct fk_list *item;

    if (dns == NULL)
        return;
    dns->closing = true;
    ares_destroy(dns->channel); /* calls on_answer() for all that is under way */
    fk_timer_stop(&dns->timer);
    while ((item = fk_list_pop(&dns->entries)) != NULL) {
        struct fk_dns_entry *entry = fk_container(item, struct fk_dns_entry, link);

        while ((item = fk_list_pop(&entry->waiters)) != NULL)
            fk_dns_cancel(fk_container(item, struct fk_dns_query, link));
        free_entry(entry);
    }
    free(dns);
    ares_library_cleanup();
}
