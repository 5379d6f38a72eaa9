/* Writing HTTP/1.1: see h1write.h. */
#include "http/h1write.h"

#include "base/err.h"
#include "base/writer.h"
#include "http/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int status;
    const char *phrase;
} reasons[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {103, "Early Hints"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *fk_http_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].phrase;
    return "";
}

/* --- a head is measured, then written into room that is there --- */

static void put(struct fk_writer *out, const char *text)
{
    fk_writer_bytes(out, text, strlen(text));
}

static void put_text(struct fk_writer *out, struct fk_reader text)
{
    if (text.left > 0)
        fk_writer_bytes(out, text.next, text.left);
}

static void put_fields(struct fk_writer *out, const struct fk_http_headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        put_text(out, fk_http_headers_name(headers, i));
        put(out, ": ");
        put_text(out, fk_http_headers_value(headers, i));
        put(out, "\r\n");
    }
}

static void put_length(struct fk_writer *out, uint64_t length)
{
    char line[48];
    int n = snprintf(line, sizeof line, "Content-Length: %llu\r\n", (unsigned long long)length);

    fk_writer_bytes(out, line, (size_t)n);
}

static void put_connection(struct fk_writer *out, enum fk_h1_connection connection)
{
    static const char *const lines[] = {
        [FK_H1_KEEP] = "",
        [FK_H1_KEEP_OLD] = "Connection: keep-alive\r\n",
        [FK_H1_LAST] = "Connection: close\r\n",
        [FK_H1_UPGRADE] = "Connection: upgrade\r\n",
    };

    put(out, lines[connection]);
}

/* The longest of all that a head has besides its parts: first line, framing, Connection. */
#define HEAD_EXTRA 256

static size_t fields_size(const struct fk_http_headers *headers)
{
    size_t size = 0;

    for (size_t i = 0; i < headers->count; i++)
        size += (size_t)headers->fields[i].name.len + headers->fields[i].value.len + 4;
    return size;
}

/* Room for a head at the end of the queue. */
static int begin(struct fk_buf *out, size_t size, struct fk_writer *ret)
{
    uint8_t *room;
    int err = fk_buf_reserve(out, size, &room);

    if (err != FK_OK)
        return err;
    fk_writer_init(ret, room, size);
    return FK_OK;
}

static int finish(struct fk_buf *out, const struct fk_writer *writer)
{
    size_t len;
    int err = fk_writer_end(writer, &len);

    if (err != FK_OK)
        return err;
    fk_buf_commit(out, len);
    return FK_OK;
}

/* No field may say again, or otherwise, what the facts say. */
static bool has_no_framing(const struct fk_http_headers *headers)
{
    return fk_http_headers_count(headers, "Content-Length") == 0 &&
           fk_http_headers_count(headers, "Transfer-Encoding") == 0 &&
           fk_http_headers_count(headers, "Connection") == 0;
}

int fk_h1_write_request(const struct fk_http_request *request, enum fk_h1_connection connection,
                        struct fk_buf *out)
{
    const struct fk_http_headers *headers = &request->headers;
    struct fk_writer writer;
    int err;

    assert(has_no_framing(headers) && fk_http_headers_count(headers, "Host") == 0 &&
           request->authority.len > 0);
    err = begin(out,
                HEAD_EXTRA + fields_size(headers) + request->method.len + request->path.len +
                    request->authority.len,
                &writer);
    if (err != FK_OK)
        return err;
    put_text(&writer, fk_http_request_part(request, request->method));
    put(&writer, " ");
    put_text(&writer, fk_http_request_part(request, request->path));
    put(&writer, " HTTP/1.1\r\nHost: ");
    put_text(&writer, fk_http_request_part(request, request->authority));
    put(&writer, "\r\n");
    put_fields(&writer, headers);
    if (request->framing == FK_HTTP_LENGTH)
        put_length(&writer, request->length);
    else if (request->framing == FK_HTTP_CHUNKED)
        put(&writer, "Transfer-Encoding: chunked\r\n");
    put_connection(&writer, connection);
    put(&writer, "\r\n");
    return finish(out, &writer);
}

int fk_h1_write_response(const struct fk_http_response *response, enum fk_http_version client,
                         enum fk_h1_connection connection, struct fk_buf *out)
{
    const struct fk_http_headers *headers = &response->headers;
    struct fk_writer writer;
    char line[96];
    int n, err;

    assert(has_no_framing(headers));
    assert(client != FK_HTTP_1_0 || response->framing != FK_HTTP_CHUNKED);
    if ((err = begin(out, HEAD_EXTRA + fields_size(headers), &writer)) != FK_OK)
        return err;
    n = snprintf(line, sizeof line, "HTTP/1.1 %d %s\r\n", response->status,
                 fk_http_reason(response->status));
    fk_writer_bytes(&writer, line, (size_t)n);
    put_fields(&writer, headers);
    if (response->framing == FK_HTTP_CHUNKED)
        put(&writer, "Transfer-Encoding: chunked\r\n");
    else if (response->framing == FK_HTTP_LENGTH ||
             (response->framing == FK_HTTP_NO_BODY && response->has_length))
        put_length(&writer, response->length);
    put_connection(&writer, connection);
    put(&writer, "\r\n");
    return finish(out, &writer);
}

int fk_h1_write_continue(struct fk_buf *out)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    return fk_buf_append(out, text, sizeof text - 1);
}

/* --- chunks --- */

int fk_h1_write_chunk(const void *data, size_t len, struct fk_buf *out)
{
    struct fk_writer writer;
    char line[24];
    int n = snprintf(line, sizeof line, "%zx\r\n", len), err;

    assert(len > 0);
    if (len > SIZE_MAX - FK_H1_CHUNK_OVERHEAD)
        return FK_ERR_LIMIT;
    if ((err = begin(out, len + (size_t)n + 2, &writer)) != FK_OK)
        return err;
    fk_writer_bytes(&writer, line, (size_t)n);
    fk_writer_bytes(&writer, data, len);
    put(&writer, "\r\n");
    return finish(out, &writer);
}

int fk_h1_write_last_chunk(const struct fk_http_headers *trailers, struct fk_buf *out)
{
    struct fk_writer writer;
    int err = begin(out, 5 + (trailers != NULL ? fields_size(trailers) : 0), &writer);

    if (err != FK_OK)
        return err;
    put(&writer, "0\r\n");
    if (trailers != NULL)
        put_fields(&writer, trailers);
    put(&writer, "\r\n");
    return finish(out, &writer);
}
