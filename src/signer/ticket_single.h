/*
 * Keys of single session tickets, for edges that shall open none without asking: each ticket has
 * keys of its own, derived from a secret of the key server's (ticket_roots.h), the private key's
 * name, what the ticket is for, and the ticket's name, which is random. Nothing is kept of a
 * ticket; who has its keys can open that one, and learns nothing of others.
 *
 * Name: 4 bytes say which secret, 12 are random.
 */
#ifndef FK_SIGNER_TICKET_SINGLE_H
#define FK_SIGNER_TICKET_SINGLE_H

#include "signer/ticket_roots.h"
#include "wire/keyticket.h"

/*
 * Keys of `count` new tickets (FK_TICKET_SINGLES_MAX at most), from the newest secret that may
 * seal; they may be used as long as that one may. The caller wipes *ret. FK_ERR_UNAVAILABLE: there
 * is no such secret; FK_ERR_CRYPTO.
 */
int fk_ticket_singles_make(const struct fk_ticket_roots *roots, const uint8_t ski[20],
                           const struct fk_ticket_use *use, uint64_t now_us, uint8_t count,
                           struct fk_ticket_singles *ret);

/*
 * The keys of the ticket with this name. If it was made for another key or use, they are keys of
 * nothing. The caller wipes *ret. FK_ERR_EXPIRED: not of a secret that is alive; FK_ERR_CRYPTO.
 */
int fk_ticket_single_find(const struct fk_ticket_roots *roots, const uint8_t ski[20],
                          const struct fk_ticket_use *use, uint64_t now_us, const uint8_t name[16],
                          struct fk_ticket_opened *ret);

#endif
