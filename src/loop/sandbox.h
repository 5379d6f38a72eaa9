/*
 * The one function that takes a process's rights away for good. Called once by every child, after
 * its start-up and before its first byte from a peer.
 */
#ifndef FK_LOOP_SANDBOX_H
#define FK_LOOP_SANDBOX_H

#include <stddef.h>

enum fk_sandbox {
    FK_SANDBOX_SIGNER, /* read and write the descriptors it has, receive more; no socket, no file */
    FK_SANDBOX_AUDIT,  /* as the signer, and append and sync its log */
    FK_SANDBOX_FRONT,  /* accept connections; no outgoing connection, no file */
    FK_SANDBOX_WORKER, /* accept and open connections, DNS; read resolv.conf, hosts and their like
                        */
    FK_SANDBOX_ADMIN,  /* accept connections; no outgoing connection, no file */
    FK_SANDBOX_TOKEN,  /* what the driver of an HSM or TPM needs: files, outgoing connections,
                          threads, libraries; no listening socket, no other program */
    FK_SANDBOX_VERDICTS, /* as the signer, and CAP_NET_ADMIN for the sockets that it has */
    FK_SANDBOX_COUNT
};

/*
 * No new privileges, no capabilities but those said above, not dumpable, no core, Landlock without
 * rights (but a WORKER's files for DNS), seccomp by profile: opening files and sockets fails with
 * EACCES, system calls that no profile needs end the process. FK_ERR_SYS when the kernel refuses
 * seccomp; a kernel without Landlock is accepted: then a WORKER opens no file either. Executable
 * memory cannot be had any more: nothing can be loaded from here on. Not for TOKEN, which has the
 * next.
 */
int fk_sandbox_enter(enum fk_sandbox profile);

/*
 * As fk_sandbox_enter(FK_SANDBOX_TOKEN): the process may read what systems keep libraries and their
 * configuration in, and read and write what lies at or below `paths` (absolute, `n`), such as the
 * folder of a software token, a device, a socket's folder. Libraries can be loaded, but memory is
 * never writable and executable at once. Without Landlock, files are bounded by the user's rights
 * alone. Threads that exist already are not bounded.
 */
int fk_sandbox_enter_token(const char *const *paths, size_t n);

/*
 * What a master gives up before it reads its configuration: no new privileges, not dumpable, no
 * core; inherited by the key reader. It must start children, bind and read files: no more than
 * that. FK_ERR_SYS.
 */
int fk_sandbox_master(void);

#endif
