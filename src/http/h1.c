/* Sections, bodies and chunks of HTTP/1: see h1.h. */
#include "http/h1.h"

#include "base/err.h"
#include "base/limits.h"
#include "http/text.h"

#include <assert.h>
#include <string.h>

int fk_h1_refuse(struct fk_h1 *h1, enum fk_http_fault fault)
{
    h1->fault = fault;
    return FK_ERR_FORMAT;
}

static enum fk_h1_outcome bad(struct fk_h1 *h1, enum fk_http_fault fault)
{
    h1->err = fk_h1_refuse(h1, fault);
    return FK_H1_BAD;
}

/* --- the second parser --- */

static int second_head(llhttp_t *second)
{
    struct fk_h1 *h1 = second->data;

    h1->saw_head = true;
    return h1->bodyless ? 1 : 0;
}

static int second_end(llhttp_t *second)
{
    ((struct fk_h1 *)second->data)->saw_end = true;
    return 0;
}

static int second_chunk(llhttp_t *second)
{
    ((struct fk_h1 *)second->data)->saw_chunk = true;
    return 0;
}

static int second_body(llhttp_t *second, const char *at, size_t len)
{
    (void)at;
    ((struct fk_h1 *)second->data)->saw_body += len;
    return 0;
}

static const llhttp_settings_t settings = {
    .on_headers_complete = second_head,
    .on_message_complete = second_end,
    .on_chunk_header = second_chunk,
    .on_body = second_body,
};

static void second_start(struct fk_h1 *h1)
{
    llhttp_init(&h1->second, h1->second.type, &settings);
    h1->second.data = h1;
}

/* What llhttp refuses although it passed our own checks. */
static enum fk_http_fault second_fault(llhttp_errno_t err)
{
    /* The latter for methods of RTSP and the like, once the version has passed. */
    if (err == HPE_INVALID_METHOD || err == HPE_INVALID_CONSTANT)
        return FK_HTTP_FAULT_METHOD;
    if (err == HPE_INVALID_CHUNK_SIZE)
        return FK_HTTP_FAULT_CHUNK_BAD;
    return FK_HTTP_FAULT_PARSERS_DIFFER;
}

/* Give it the same piece that we have read; it must take all of it. */
static enum fk_http_fault second_feed(struct fk_h1 *h1, struct fk_reader piece)
{
    const char *data = (const char *)piece.next;
    llhttp_errno_t err;

    h1->saw_head = h1->saw_chunk = h1->saw_end = false;
    h1->saw_body = 0;
    err = llhttp_execute(&h1->second, data, piece.left);
    if (err == HPE_PAUSED_UPGRADE && h1->saw_end &&
        llhttp_get_error_pos(&h1->second) == data + piece.left)
        return FK_HTTP_FAULT_NONE;
    return err == HPE_OK ? FK_HTTP_FAULT_NONE : second_fault(err);
}

/* Whether it understood the head as we did. */
static bool second_agrees(struct fk_h1 *h1, enum fk_h1_outcome outcome)
{
    const llhttp_t *second = &h1->second;
    bool chunked = (second->flags & F_CHUNKED) != 0;

    if (!h1->saw_head || h1->saw_body > 0 || h1->saw_chunk)
        return false;
    if (outcome == FK_H1_GOT_LENGTH)
        return !h1->saw_end && !chunked && second->content_length == h1->left;
    if (outcome == FK_H1_GOT_CHUNKED)
        return !h1->saw_end && chunked;
    if (outcome == FK_H1_GOT_CLOSE)
        return !h1->saw_end && llhttp_message_needs_eof(second) != 0;
    return h1->saw_end; /* no body */
}

/* --- lines --- */

/*
 * Find the empty line that ends a section of lines at the front of `in`. *ret_len is the section's
 * length with it, or 0: more bytes are needed. Each byte is looked at once, however they trickle.
 */
static enum fk_http_fault scan_section(struct fk_h1 *h1, struct fk_reader in, size_t line_max,
                                       size_t max, size_t *ret_len)
{
    *ret_len = 0;
    while (h1->scanned < in.left) {
        const uint8_t *found = memchr(in.next + h1->scanned, '\n', in.left - h1->scanned);
        size_t at = found != NULL ? (size_t)(found - in.next) : in.left;

        if (h1->line == 0 && at > line_max + 1) /* + 1: its CR */
            return FK_HTTP_FAULT_LINE_LONG;
        if (at >= max)
            return FK_HTTP_FAULT_FIELDS_LARGE;
        h1->scanned = found != NULL ? at + 1 : at;
        if (found == NULL)
            break;
        if (at == h1->line || in.next[at - 1] != '\r')
            return FK_HTTP_FAULT_BARE_LF;
        if (at == h1->line + 1) {
            *ret_len = at + 1;
            break;
        }
        h1->line = at + 1;
    }
    return FK_HTTP_FAULT_NONE;
}

static void end_section(struct fk_h1 *h1)
{
    h1->line = h1->scanned = 0;
}

int fk_h1_take_line(struct fk_reader *section, struct fk_reader *ret)
{
    struct fk_reader rest = *section, line;
    int err = fk_reader_until(&rest, '\n', &line);

    if (err != FK_OK)
        return err;
    assert(line.left > 0); /* the scan has seen a CR there */
    line.left--;
    *section = rest;
    *ret = line;
    return FK_OK;
}

int fk_h1_read_fields(struct fk_h1 *h1, struct fk_reader *section, size_t max,
                      struct fk_http_headers *headers)
{
    struct fk_reader line, name, value;
    enum fk_http_fault fault;
    int err;

    while ((err = fk_h1_take_line(section, &line)) == FK_OK && line.left > 0) {
        fault = fk_http_field_line(line, &name, &value);
        if (fault != FK_HTTP_FAULT_NONE)
            return fk_h1_refuse(h1, fault);
        if (headers->count == max)
            return fk_h1_refuse(h1, FK_HTTP_FAULT_FIELDS_MANY);
        err = fk_http_headers_add(headers, name, value);
        if (err == FK_ERR_LIMIT)
            return fk_h1_refuse(h1, FK_HTTP_FAULT_FIELDS_LARGE);
        if (err != FK_OK)
            return err;
    }
    return err;
}

/* --- steps: one a state --- */

/* An origin that speaks something else is known by its first bytes, and not waited for. */
static enum fk_http_fault check_answer(struct fk_reader in)
{
    static const char start[] = "HTTP/1.";
    size_t len = in.left < sizeof start - 1 ? in.left : sizeof start - 1;

    return memcmp(in.next, start, len) == 0 ? FK_HTTP_FAULT_NONE : FK_HTTP_FAULT_START_LINE;
}

/* A request may follow one empty line (RFC 9112 section 2.2). */
static enum fk_http_fault skip_blank(struct fk_h1 *h1, struct fk_reader *in)
{
    struct fk_reader rest = *in, two;

    if (h1->blank || in->left < 2 || in->next[0] != '\r')
        return FK_HTTP_FAULT_NONE;
    if (fk_reader_take(&rest, 2, &two) != FK_OK || two.next[1] != '\n')
        return FK_HTTP_FAULT_BARE_CR;
    *in = rest;
    h1->blank = true;
    end_section(h1);
    return FK_HTTP_FAULT_NONE;
}

/* What is no message need not be read to a limit. */
static enum fk_http_fault check_start(struct fk_h1 *h1, struct fk_reader *in)
{
    enum fk_http_fault fault;
    struct fk_reader first;

    if (h1->line > 0 || in->left == 0)
        return FK_HTTP_FAULT_NONE;
    if (h1->second.type == HTTP_RESPONSE)
        return check_answer(*in);
    if ((fault = skip_blank(h1, in)) != FK_HTTP_FAULT_NONE || in->left == 0)
        return fault;
    fk_reader_init(&first, in->next, 1);
    if (in->next[0] == '\n')
        return FK_HTTP_FAULT_BARE_LF;
    if (in->next[0] == '\r' && in->left == 1 && !h1->blank)
        return FK_HTTP_FAULT_NONE; /* the half of an empty line */
    return fk_http_is_token(first) ? FK_HTTP_FAULT_NONE : FK_HTTP_FAULT_START_LINE;
}

static enum fk_h1_outcome step_head(struct fk_h1 *h1, struct fk_reader *in,
                                    struct fk_http_event *ret)
{
    enum fk_h1_outcome outcome = FK_H1_BAD;
    struct fk_reader head;
    enum fk_http_fault fault;
    size_t len;

    if ((fault = check_start(h1, in)) != FK_HTTP_FAULT_NONE ||
        (fault = scan_section(h1, *in, h1->limits->line, h1->limits->head, &len)) !=
            FK_HTTP_FAULT_NONE)
        return bad(h1, fault);
    if (len == 0 || fk_reader_take(in, len, &head) != FK_OK)
        return FK_H1_MORE;
    end_section(h1);
    h1->err = h1->read_head(h1, head, &outcome);
    if (h1->err != FK_OK)
        return FK_H1_BAD;
    second_start(h1);
    if ((fault = second_feed(h1, head)) != FK_HTTP_FAULT_NONE)
        return bad(h1, fault);
    if (!second_agrees(h1, outcome))
        return bad(h1, FK_HTTP_FAULT_PARSERS_DIFFER);
    *ret = (struct fk_http_event){.kind = FK_HTTP_HEAD};
    return outcome;
}

/* As much of `left` bytes as is there. */
static enum fk_h1_outcome take_piece(struct fk_h1 *h1, struct fk_reader *in,
                                     struct fk_http_event *ret)
{
    size_t len = h1->left < in->left ? (size_t)h1->left : in->left;
    struct fk_reader piece;
    enum fk_http_fault fault;

    if (len == 0 || fk_reader_take(in, len, &piece) != FK_OK)
        return FK_H1_MORE;
    if ((fault = second_feed(h1, piece)) != FK_HTTP_FAULT_NONE)
        return bad(h1, fault);
    if (h1->saw_body != len)
        return bad(h1, FK_HTTP_FAULT_PARSERS_DIFFER);
    h1->left -= len;
    *ret = (struct fk_http_event){.kind = FK_HTTP_BODY, .body = piece};
    return h1->left > 0 ? FK_H1_PIECE : FK_H1_LAST_PIECE;
}

static enum fk_h1_outcome step_length(struct fk_h1 *h1, struct fk_reader *in,
                                      struct fk_http_event *ret)
{
    enum fk_h1_outcome outcome = take_piece(h1, in, ret);

    if ((outcome == FK_H1_PIECE && h1->saw_end) || (outcome == FK_H1_LAST_PIECE && !h1->saw_end))
        return bad(h1, FK_HTTP_FAULT_PARSERS_DIFFER);
    return outcome;
}

/* chunk-size [ chunk-ext ] without CRLF; no space where the RFC allows a bad one (section 7.1.1).
 * The size itself is llhttp's. */
static enum fk_http_fault check_chunk_line(struct fk_h1 *h1, struct fk_reader line)
{
    size_t digits = 0;

    while (digits < line.left && memchr("0123456789abcdefABCDEF", line.next[digits], 22) != NULL)
        digits++;
    if (digits == 0 || digits > 16 || (digits < line.left && line.next[digits] != ';') ||
        !fk_http_all(line, FK_HTTP_CHAR_VALUE))
        return FK_HTTP_FAULT_CHUNK_BAD;
    h1->extensions += line.left - digits;
    return h1->extensions <= FK_HTTP_CHUNK_EXTENSIONS_MAX ? FK_HTTP_FAULT_NONE
                                                          : FK_HTTP_FAULT_CHUNK_EXTENSIONS;
}

static enum fk_h1_outcome step_chunk_line(struct fk_h1 *h1, struct fk_reader *in,
                                          struct fk_http_event *ret)
{
    struct fk_reader rest = *in, line, whole = *in;
    enum fk_http_fault fault;

    (void)ret;
    if (rest.left > FK_HTTP_CHUNK_LINE_MAX)
        rest.left = FK_HTTP_CHUNK_LINE_MAX;
    if (fk_reader_until(&rest, '\n', &line) != FK_OK)
        return in->left < FK_HTTP_CHUNK_LINE_MAX ? FK_H1_MORE : bad(h1, FK_HTTP_FAULT_CHUNK_LONG);
    if (line.left == 0 || line.next[line.left - 1] != '\r')
        return bad(h1, FK_HTTP_FAULT_BARE_LF);
    if (fk_reader_take(in, line.left + 1, &whole) != FK_OK)
        return FK_H1_MORE;
    line.left--;
    if ((fault = check_chunk_line(h1, line)) != FK_HTTP_FAULT_NONE ||
        (fault = second_feed(h1, whole)) != FK_HTTP_FAULT_NONE)
        return bad(h1, fault);
    if (!h1->saw_chunk || h1->saw_end)
        return bad(h1, FK_HTTP_FAULT_PARSERS_DIFFER);
    h1->left = h1->second.content_length;
    return h1->left > 0 ? FK_H1_CHUNK : FK_H1_LAST_CHUNK;
}

static enum fk_h1_outcome step_chunk_end(struct fk_h1 *h1, struct fk_reader *in,
                                         struct fk_http_event *ret)
{
    struct fk_reader crlf;
    enum fk_http_fault fault;

    (void)ret;
    if (in->left > 0 && in->next[0] != '\r')
        return bad(h1, FK_HTTP_FAULT_CHUNK_BAD);
    if (in->left < 2 || fk_reader_take(in, 2, &crlf) != FK_OK)
        return FK_H1_MORE;
    if (crlf.next[1] != '\n')
        return bad(h1, FK_HTTP_FAULT_CHUNK_BAD);
    fault = second_feed(h1, crlf);
    return fault == FK_HTTP_FAULT_NONE ? FK_H1_PASSED : bad(h1, fault);
}

static int read_trailers(struct fk_h1 *h1, struct fk_reader section)
{
    int err = fk_h1_read_fields(h1, &section, FK_HTTP_TRAILER_FIELDS_MAX, &h1->trailers);

    for (size_t i = 0; err == FK_OK && i < h1->trailers.count; i++)
        if (fk_http_trailer_forbidden(fk_http_headers_name(&h1->trailers, i)))
            err = fk_h1_refuse(h1, FK_HTTP_FAULT_TRAILER_FORBIDDEN);
    return err;
}

static enum fk_h1_outcome step_trailers(struct fk_h1 *h1, struct fk_reader *in,
                                        struct fk_http_event *ret)
{
    struct fk_reader section;
    enum fk_http_fault fault;
    size_t len;

    fault = scan_section(h1, *in, FK_HTTP_TRAILERS_MAX, FK_HTTP_TRAILERS_MAX, &len);
    if (fault != FK_HTTP_FAULT_NONE)
        return bad(h1, fault == FK_HTTP_FAULT_LINE_LONG ? FK_HTTP_FAULT_FIELDS_LARGE : fault);
    if (len == 0 || fk_reader_take(in, len, &section) != FK_OK)
        return FK_H1_MORE;
    end_section(h1);
    h1->err = read_trailers(h1, section);
    if (h1->err != FK_OK)
        return FK_H1_BAD;
    if ((fault = second_feed(h1, section)) != FK_HTTP_FAULT_NONE)
        return bad(h1, fault);
    if (!h1->saw_end)
        return bad(h1, FK_HTTP_FAULT_PARSERS_DIFFER);
    if (h1->trailers.count == 0)
        return FK_H1_PASSED;
    *ret = (struct fk_http_event){.kind = FK_HTTP_TRAILERS};
    return FK_H1_GOT_TRAILERS;
}

static enum fk_h1_outcome step_close(struct fk_h1 *h1, struct fk_reader *in,
                                     struct fk_http_event *ret)
{
    struct fk_reader piece;

    (void)h1;
    if (in->left == 0 || fk_reader_take(in, in->left, &piece) != FK_OK)
        return FK_H1_MORE;
    *ret = (struct fk_http_event){.kind = FK_HTTP_BODY, .body = piece};
    return FK_H1_PIECE;
}

static enum fk_h1_outcome step_end(struct fk_h1 *h1, struct fk_reader *in,
                                   struct fk_http_event *ret)
{
    (void)h1;
    (void)in;
    *ret = (struct fk_http_event){.kind = FK_HTTP_END};
    return FK_H1_ENDED;
}

/* A client may send its next request already; an origin has nothing to say unasked. */
static enum fk_h1_outcome step_over(struct fk_h1 *h1, struct fk_reader *in,
                                    struct fk_http_event *ret)
{
    (void)ret;
    if (h1->second.type == HTTP_RESPONSE && in->left > 0)
        return bad(h1, FK_HTTP_FAULT_UNASKED);
    return FK_H1_MORE;
}

static enum fk_h1_outcome step_tunnel(struct fk_h1 *h1, struct fk_reader *in,
                                      struct fk_http_event *ret)
{
    (void)h1;
    (void)in;
    (void)ret;
    return FK_H1_MORE;
}

static enum fk_h1_outcome step_failed(struct fk_h1 *h1, struct fk_reader *in,
                                      struct fk_http_event *ret)
{
    (void)h1;
    (void)in;
    (void)ret;
    return FK_H1_BAD;
}

typedef enum fk_h1_outcome step_fn(struct fk_h1 *h1, struct fk_reader *in,
                                   struct fk_http_event *ret);

static step_fn *const steps[FK_H1_STATES] = {
    [FK_H1_HEAD] = step_head,
    [FK_H1_LENGTH] = step_length,
    [FK_H1_CHUNK_LINE] = step_chunk_line,
    [FK_H1_CHUNK_DATA] = take_piece,
    [FK_H1_CHUNK_END] = step_chunk_end,
    [FK_H1_TRAILERS] = step_trailers,
    [FK_H1_CLOSE] = step_close,
    [FK_H1_END] = step_end,
    [FK_H1_OVER] = step_over,
    [FK_H1_TUNNEL] = step_tunnel,
    [FK_H1_FAILED] = step_failed,
};

/* What the caller is told of an outcome: to call again with more, an error, an event, or nothing:
 * then the next state is looked at. */
enum telling { TELL_NOTHING, TELL_AGAIN, TELL_ERROR, TELL_EVENT };

static const enum telling tellings[FK_H1_OUTCOMES] = {
    [FK_H1_MORE] = TELL_AGAIN,         [FK_H1_BAD] = TELL_ERROR,
    [FK_H1_GOT_INTERIM] = TELL_EVENT,  [FK_H1_GOT_BODYLESS] = TELL_EVENT,
    [FK_H1_GOT_LENGTH] = TELL_EVENT,   [FK_H1_GOT_CHUNKED] = TELL_EVENT,
    [FK_H1_GOT_CLOSE] = TELL_EVENT,    [FK_H1_GOT_TUNNEL] = TELL_EVENT,
    [FK_H1_PIECE] = TELL_EVENT,        [FK_H1_LAST_PIECE] = TELL_EVENT,
    [FK_H1_GOT_TRAILERS] = TELL_EVENT, [FK_H1_ENDED] = TELL_EVENT,
};

#define TO(state) (FK_H1_##state + 1) /* zero is an empty cell */

/* Besides: MORE stays, BAD fails, in every state. */
static const uint8_t next_states[FK_H1_STATES][FK_H1_OUTCOMES] = {
    [FK_H1_HEAD] =
        {
            [FK_H1_GOT_INTERIM] = TO(HEAD),
            [FK_H1_GOT_BODYLESS] = TO(END),
            [FK_H1_GOT_LENGTH] = TO(LENGTH),
            [FK_H1_GOT_CHUNKED] = TO(CHUNK_LINE),
            [FK_H1_GOT_CLOSE] = TO(CLOSE),
            [FK_H1_GOT_TUNNEL] = TO(TUNNEL),
        },
    [FK_H1_LENGTH] = {[FK_H1_PIECE] = TO(LENGTH), [FK_H1_LAST_PIECE] = TO(END)},
    [FK_H1_CHUNK_LINE] = {[FK_H1_CHUNK] = TO(CHUNK_DATA), [FK_H1_LAST_CHUNK] = TO(TRAILERS)},
    [FK_H1_CHUNK_DATA] = {[FK_H1_PIECE] = TO(CHUNK_DATA), [FK_H1_LAST_PIECE] = TO(CHUNK_END)},
    [FK_H1_CHUNK_END] = {[FK_H1_PASSED] = TO(CHUNK_LINE)},
    [FK_H1_TRAILERS] = {[FK_H1_PASSED] = TO(END), [FK_H1_GOT_TRAILERS] = TO(END)},
    [FK_H1_CLOSE] = {[FK_H1_PIECE] = TO(CLOSE)},
    [FK_H1_END] = {[FK_H1_ENDED] = TO(OVER)},
};

enum fk_h1_state fk_h1_transition(enum fk_h1_state state, enum fk_h1_outcome outcome)
{
    if (outcome == FK_H1_BAD)
        return FK_H1_FAILED;
    if (outcome == FK_H1_MORE)
        return state == FK_H1_FAILED || state == FK_H1_END ? FK_H1_STATES : state;
    if (next_states[state][outcome] == 0)
        return FK_H1_STATES;
    return (enum fk_h1_state)(next_states[state][outcome] - 1);
}

int fk_h1_next(struct fk_h1 *h1, const void *data, size_t len, size_t *ret_used,
               struct fk_http_event *ret)
{
    enum telling telling = TELL_NOTHING;
    struct fk_reader in;

    fk_reader_init(&in, data, len);
    while (telling == TELL_NOTHING) {
        enum fk_h1_outcome outcome = steps[h1->state](h1, &in, ret);

        h1->state = fk_h1_transition(h1->state, outcome);
        assert(h1->state < FK_H1_STATES);
        telling = tellings[outcome];
    }
    *ret_used = len - in.left;
    if (telling == TELL_ERROR)
        return h1->err;
    return telling == TELL_AGAIN ? FK_ERR_AGAIN : FK_OK;
}

void fk_h1_init(struct fk_h1 *h1, llhttp_type_t type, const struct fk_http_limits *limits,
                fk_h1_head_fn *read_head)
{
    *h1 = (struct fk_h1){.limits = limits, .read_head = read_head};
    h1->second.type = (uint8_t)type;
    fk_http_headers_init(&h1->trailers, FK_HTTP_TRAILERS_MAX, FK_HTTP_TRAILER_FIELDS_MAX);
}

void fk_h1_fini(struct fk_h1 *h1)
{
    fk_http_headers_fini(&h1->trailers);
}

void fk_h1_restart(struct fk_h1 *h1)
{
    h1->state = FK_H1_HEAD;
    h1->fault = FK_HTTP_FAULT_NONE;
    h1->err = FK_OK;
    end_section(h1);
    h1->extensions = 0;
    h1->left = 0;
    h1->blank = false;
    fk_http_headers_reset(&h1->trailers);
}
