/*
 * Socket addresses and sets of address ranges: text to binary and back. No name is ever resolved
 * here (see loop/dns.h).
 */
#ifndef FK_LOOP_ADDR_H
#define FK_LOOP_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct fk_addr {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* Longest text of an address: "unix:" and a path, or "[v6%scope]:port", and NUL. */
#define FK_ADDR_TEXT_SIZE 128

/*
 * "10.0.0.1:443", "[::1]:443", "*:443" (IPv6 any, dual stack), "unix:/run/x.sock".
 * FK_ERR_FORMAT; FK_ERR_NOT_FOUND when the host is a name and must be resolved.
 */
int fk_addr_parse(const char *text, struct fk_addr *ret);

/* Split "host:port" or "[v6]:port" without resolving; host gets at most FK_HOST_MAX + 1 bytes. */
int fk_addr_split(const char *text, char *ret_host, size_t host_size, uint16_t *ret_port);

/* A local address to connect from: an IP address, with or without a port. FK_ERR_FORMAT. */
int fk_addr_parse_local(const char *text, struct fk_addr *ret);

/* Whether `host` may be a DNS name: letters, digits, '-', '_' and '.', the last label not a number.
 */
bool fk_addr_is_name(const char *host);

/* The same texts as fk_addr_parse() reads. */
void fk_addr_format(const struct fk_addr *addr, char dst[FK_ADDR_TEXT_SIZE]);

uint16_t fk_addr_port(const struct fk_addr *addr);
void fk_addr_set_port(struct fk_addr *addr, uint16_t port);

/* The 4 or 16 address bytes in network order (IPv4-mapped IPv6 gives 4); 0 for UNIX sockets. */
size_t fk_addr_ip(const struct fk_addr *addr, uint8_t ret[16]);

/* An address from 4 or 16 bytes and a port. FK_ERR_INVAL for another length. */
int fk_addr_from_ip(const uint8_t *ip, size_t len, uint16_t port, struct fk_addr *ret);

/* One range, "10.0.0.0/8", "2001:db8::/32" or a single address. Host bits set: FK_ERR_FORMAT. */
struct fk_range {
    uint8_t ip[16]; /* IPv4 as IPv4-mapped */
    uint8_t bits;   /* prefix length within the 128 */
};

int fk_range_parse(const char *text, struct fk_range *ret);
bool fk_range_has(const struct fk_range *range, const struct fk_addr *addr);

/*
 * Allow and deny lists: denied when in `deny`; else allowed when `allow` is empty or holds it.
 * UNIX-socket peers are always allowed here.
 */
struct fk_ranges {
    struct fk_range *items;
    size_t count;
};

/* Of texts as fk_range_parse() takes them; the caller frees ret->items. FK_ERR_NOMEM,
 * FK_ERR_FORMAT. */
int fk_ranges_parse(char *const *texts, size_t count, struct fk_ranges *ret);

bool fk_addr_permitted(const struct fk_addr *addr, const struct fk_ranges *allow,
                       const struct fk_ranges *deny);

#endif
