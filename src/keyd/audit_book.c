/* The audit log's file: see audit_book.h. */
#include "keyd/audit_book.h"

#include "base/err.h"
#include "base/secret.h"
#include "base/text.h"
#include "loop/sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest text of our own: a checkpoint's signature, or two heads. */
#define OWN_TEXT_MAX 256

int fk_audit_book_init(struct fk_audit_book *book)
{
    book->fd = -1;
    book->open = false;
    book->sync = false;
    book->done = 0;
    book->len = 0;
    return fk_audit_chain_init(&book->chain);
}

void fk_audit_book_fini(struct fk_audit_book *book)
{
    fk_close(&book->fd);
    fk_audit_chain_fini(&book->chain);
}

bool fk_audit_book_room(const struct fk_audit_book *book)
{
    return sizeof book->out - book->len >= 2 * FK_AUDIT_ROW_MAX; /* one of our own fits always */
}

static int append(struct fk_audit_book *book, const char *text, size_t len)
{
    size_t n;
    int err = fk_audit_chain_append(&book->chain, text, len, book->out + book->len,
                                    sizeof book->out - book->len, &n);

    if (err == FK_OK)
        book->len += n;
    return err;
}

/* --- lines --- */

int fk_audit_book_begin(struct fk_audit_book *book, const uint8_t id[FK_AUDIT_ID_SIZE],
                        const uint8_t key[FK_AUDIT_KEY_SIZE], const struct fk_audit_head *previous)
{
    char text[OWN_TEXT_MAX], hex[2 * FK_AUDIT_ID_SIZE + 1], head[FK_AUDIT_HEAD_MAX] = "-";
    int len;

    if (previous != NULL)
        fk_audit_head_format(previous, head);
    fk_text_hex(id, FK_AUDIT_ID_SIZE, hex);
    len = snprintf(text, sizeof text, "chain=%s v=1 previous=%s", hex, head);
    fk_audit_chain_begin(&book->chain, id, key);
    book->open = true;
    return append(book, text, (size_t)len);
}

static int append_continue(struct fk_audit_book *book)
{
    char text[OWN_TEXT_MAX], hex[2 * FK_AUDIT_ID_SIZE + 1], previous[FK_AUDIT_HEAD_MAX];
    struct fk_audit_head head;
    int len;

    fk_audit_chain_head(&book->chain, &head);
    fk_audit_head_format(&head, previous);
    fk_text_hex(book->chain.id, FK_AUDIT_ID_SIZE, hex);
    len = snprintf(text, sizeof text, "continue=%s previous=%s", hex, previous);
    return append(book, text, (size_t)len);
}

int fk_audit_book_line(struct fk_audit_book *book, unsigned front, const char *text, size_t len)
{
    char row[16 + FK_AUDIT_LINE_MAX];
    int at = snprintf(row, 16, "front=%u ", front & 0xffff);

    if (at < 0 || len > FK_AUDIT_LINE_MAX)
        return FK_ERR_LIMIT;
    for (size_t i = 0; i < len; i++)
        row[(size_t)at + i] = (char)(text[i] >= ' ' && text[i] <= '~' ? text[i] : '?');
    return append(book, row, (size_t)at + len);
}

int fk_audit_book_checkpoint(struct fk_audit_book *book, uint64_t wall_us,
                             const uint8_t sig[FK_AUDIT_SIG_SIZE])
{
    char text[OWN_TEXT_MAX], hex[2 * FK_AUDIT_SIG_SIZE + 1];
    int len;

    fk_text_hex(sig, FK_AUDIT_SIG_SIZE, hex);
    len = snprintf(text, sizeof text, "checkpoint t=%llu sig=%s", (unsigned long long)wall_us, hex);
    return append(book, text, (size_t)len);
}

/* --- the file --- */

int fk_audit_book_flush(struct fk_audit_book *book)
{
    bool any = book->len > 0;

    while (book->done < book->len) {
        ssize_t n = write(book->fd, book->out + book->done, book->len - book->done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return FK_ERR_SYS;
        book->done += (size_t)n;
    }
    if (any && book->sync && fdatasync(book->fd) != 0 && errno != EINVAL && errno != EROFS)
        return FK_ERR_SYS;
    book->done = 0;
    book->len = 0;
    return FK_OK;
}

/* A line that a crash, or whoever else wrote the file, left incomplete is closed, so that the next
 * one stands by itself. */
static void end_torn_line(struct fk_audit_book *book, int fd)
{
    struct stat st;
    char last;

    if (book->len < sizeof book->out && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
        st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 && last != '\n') {
        memmove(book->out + 1, book->out, book->len);
        book->out[0] = '\n';
        book->len++;
    }
}

/* What did not reach the old file goes to the new one, from the start of the line on. */
static void keep_unwritten(struct fk_audit_book *book)
{
    size_t start = book->done;

    while (start > 0 && book->out[start - 1] != '\n')
        start--;
    memmove(book->out, book->out + start, book->len - start);
    book->len -= start;
    book->done = 0;
}

int fk_audit_book_use(struct fk_audit_book *book, int fd)
{
    if (book->fd >= 0 && fk_audit_book_flush(book) != FK_OK)
        keep_unwritten(book);
    fk_close(&book->fd);
    book->fd = fd;
    end_torn_line(book, fd);
    return book->open ? append_continue(book) : FK_OK;
}
