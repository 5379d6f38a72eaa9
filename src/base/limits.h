/*
 * Every bound of the project, each with its reason. A queue, buffer or table without a line here
 * is a defect. Bounds that an operator may want to change are options of the configuration; what
 * stands here is their ceiling, or what no operator needs to touch.
 */
#ifndef FK_BASE_LIMITS_H
#define FK_BASE_LIMITS_H

/* --- base --- */

/* First allocation of a byte queue: one small message; doubling from there. */
#define FK_BUF_MIN 512
/* An emptied queue larger than this gives its memory back: an idle connection costs nothing. */
#define FK_BUF_KEEP 4096
/* Largest secret: an encrypted PKCS#8 RSA-4096 key in PEM is below 4 KiB; room for a bundle. */
#define FK_SECRET_MAX (1024 * 1024)
/* One log line: longer ones are cut, so that a peer cannot fill the disk with one request. */
#define FK_LOG_LINE_MAX 2048
/* Lines a second of one kind that a peer can provoke: enough to see, too few to fill a disk. */
#define FK_LOG_BURST 10
/* Label of a metric or process name: fits a status line. */
#define FK_NAME_MAX 64
/* A DNS name in text (RFC 1035 section 2.3.4). */
#define FK_HOST_MAX 253

/* --- admin --- */

/* An answer of a master: the status of thousands of sites fits; bounds what admin allocates. */
#define FK_ADMIN_ANSWER_MAX (4 * 1024 * 1024)

#endif
