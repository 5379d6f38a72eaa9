/*
 * The asker process: asks other key servers for shares of split keys, or for the powers that such
 * make, on behalf of fronts. It has what a client of key servers has: the channel's identity,
 * outgoing connections, names to look up. It holds no key and takes no connection; what it brings
 * is sealed, and only the signer that asked can open it.
 *
 * What its master sends: FK_PROC_CONFIG (the fronts' bundle), FK_PROC_PEER of kind FK_PEER_FRONT,
 * FK_PROC_GO. A reload is CONFIG and PREPARE, answered PREPARED, then GO, or FORGET. It tells how
 * the key servers are by FK_PROC_STATUS: arg the number of one among all, data a JSON object.
 */
#ifndef FK_KEYD_ASKER_H
#define FK_KEYD_ASKER_H

#include "base/limits.h"
#include "base/reader.h"
#include "base/writer.h"
#include "signer/request.h"
#include "tls/keyback.h"

/* The child "keyd-asker"; its exit status. */
int fk_asker_main(unsigned index);

/*
 * What a front asks for, in a message of keyd/hs_link.h: opcode (SHARE or PARTIAL) and key in its
 * head; payload: server name<u8> and address<u8> of the client, for the other key server's log |
 * the operation's payload. The answer is the other key server's.
 */
#define FK_ASKER_PAYLOAD_MAX (2 + 255 + 16 + FK_SIGNER_PAYLOAD_MAX)
void fk_asker_encode(struct fk_reader sni, struct fk_reader client_ip, struct fk_writer *out);
/* The client's name and address off the payload; `sni` gets the name, and is what *ret points at.
 * FK_ERR_TRUNCATED, FK_ERR_FORMAT. */
int fk_asker_decode(struct fk_reader *payload, char sni[FK_HOST_MAX + 1],
                    struct fk_key_context *ret);

#endif
