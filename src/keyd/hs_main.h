/*
 * The handshaker process: shakes hands with the clients of edges, over memory. It parses what
 * hostile clients send, so it holds no private key (signers are asked), no socket to the network
 * and no file.
 *
 * What its master sends: FK_PROC_SESSIONS and FK_PROC_TICKETS (ids and tickets of all handshakers),
 * FK_PROC_CONFIG (the fronts' bundle), FK_PROC_PEER of kind FK_PEER_FRONT and FK_PEER_SIGNER,
 * FK_PROC_GO. A reload is CONFIG and PREPARE, answered PREPARED, then GO and PEER (the new
 * signers); from PREPARED on it serves both sets: fronts say by which a handshake is to begin, as
 * they do not change over at the same moment.
 */
#ifndef FK_KEYD_HS_MAIN_H
#define FK_KEYD_HS_MAIN_H

/* The child "keyd-handshaker"; its exit status. */
int fk_handshaker_main(unsigned index);

#endif
