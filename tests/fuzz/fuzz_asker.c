/*
 * keyd/asker: what a front asks an asker for, and the question in it that goes to another key
 * server. What decodes is encoded to the same bytes.
 */
#include "check.h"

#include "base/err.h"
#include "keyd/asker.h"
#include "wire/keyshare.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[1 << 16];
    struct fk_key_context context = {.sni = NULL};
    struct fk_reader input, name = {NULL, 0}, address = {NULL, 0};
    struct fk_share_ask about;
    char sni[FK_HOST_MAX + 1];
    struct fk_writer writer;
    size_t len;

    fk_reader_init(&input, data, size);
    if (size > sizeof out || fk_asker_decode(&input, sni, &context) != FK_OK)
        return 0;
    CHECK(context.sni == NULL || context.sni == sni);
    if (fk_share_ask_decode(input, &about) != FK_OK)
        return 0;
    if (context.sni != NULL)
        fk_reader_init(&name, data + 1, data[0]); /* it may have a NUL in it */
    fk_reader_init(&address, context.client_ip, context.client_ip_len);
    fk_writer_init(&writer, out, sizeof out);
    fk_asker_encode(name, address, &writer);
    fk_share_ask_encode(&about, &writer);
    CHECK(fk_writer_end(&writer, &len) == FK_OK);
    CHECK(len == size && memcmp(out, data, len) == 0);
    return 0;
}
