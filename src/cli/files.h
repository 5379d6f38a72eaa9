/*
 * Files that the commands make: written whole under another name, synced, then renamed, so that a
 * reader (a daemon that reloads) sees the old file or the new one and never half of it.
 */
#ifndef FK_CLI_FILES_H
#define FK_CLI_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Longest path that a command builds. */
#define FK_PATH_SIZE 1024

/* A file read whole by a command: certificates, keys, requests, an index of many certificates. */
#define FK_FILE_MAX (16 * 1024 * 1024)

/* DIR/NAME, NUL-terminated. FK_ERR_LIMIT when it does not fit. */
int fk_path_join(const char *dir, const char *name, char ret[FK_PATH_SIZE]);

/* Write atomically with exactly `mode`; owned as the directory is when root. FK_ERR_SYS. */
int fk_file_write(const char *path, const void *data, size_t len, mode_t mode);

/*
 * The same but for its last step: written and synced under another name in the same directory,
 * which the caller renames or removes. FK_ERR_SYS.
 */
int fk_file_stage(const char *path, const void *data, size_t len, mode_t mode,
                  char ret_temp[FK_PATH_SIZE]);

/* Sync the directory that holds `path`: a rename is lasting only then. FK_ERR_SYS. */
int fk_file_sync_dir(const char *path);

/* The contents and a NUL, which the caller wipes if secret and frees. FK_ERR_SYS, FK_ERR_LIMIT,
 * FK_ERR_NOMEM. */
int fk_file_read(const char *path, uint8_t **ret, size_t *ret_len);

/* Make a directory with exactly `mode`; one that exists is fine. FK_ERR_SYS. */
int fk_dir_make(const char *path, mode_t mode);

/* Remove a directory and all below it, never following a symbolic link. FK_ERR_SYS. */
int fk_dir_remove(const char *path);

bool fk_file_exists(const char *path);

/* Whether `name` may be a part of a file name and of an identity: letters, digits, and ".-_" but
 * not a leading dot; at most 63 bytes. */
bool fk_name_ok(const char *name);

#endif
