/*
 * tls/sesentry: nothing that the site has not sealed opens. Input: first byte 0: an entry of
 * whoever keeps them; else a true one, changed where and how the next bytes say.
 */
#include "check.h"

#include "base/err.h"
#include "tls/sesentry.h"

#include <string.h>

static struct fk_tickets *tickets;
static struct fk_ticket_site *site;
static uint8_t sealed[FK_SESENTRY_MAX];
static size_t sealed_len;
static const uint8_t owner[32] = {1};
static uint8_t id[32] = {2};

static void make_sealed(void)
{
    struct fk_ticket_keys keys = {.count = 1};
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_SESSION *session = SSL_SESSION_new();
    SSL *ssl = SSL_new(ctx);

    CHECK(fk_tickets_new(NULL, &tickets) == FK_OK);
    fk_tickets_set(tickets, &keys);
    CHECK(fk_ticket_site_new(tickets, "a.example", &site) == FK_OK);
    CHECK(SSL_SESSION_set1_id(session, id, sizeof id) == 1);
    CHECK(SSL_SESSION_set_protocol_version(session, TLS1_2_VERSION) == 1);
    CHECK(SSL_SESSION_set1_master_key(session, sealed, 48) == 1);
    CHECK(SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, (const uint8_t *)"\xc0\x2f")) == 1);
    CHECK(fk_sesentry_seal(site, owner, session, sealed, &sealed_len) == FK_OK);
    SSL_SESSION_free(session);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

static int open_entry(const void *data, size_t len)
{
    const struct fk_sesentry_bound bound = {.id = id, .owner = owner};
    SSL_SESSION *session = NULL;
    int err = fk_sesentry_open(site, &bound, data, len, &session);

    CHECK((err == FK_OK) == (session != NULL));
    SSL_SESSION_free(session);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t entry[FK_SESENTRY_MAX];

    if (tickets == NULL)
        make_sealed();
    if (size < 1 || data[0] == 0) {
        CHECK(size < 1 || open_entry(data + 1, size - 1) != FK_OK);
        return 0;
    }
    memcpy(entry, sealed, sealed_len);
    for (size_t i = 1; i + 1 < size; i += 2)
        entry[data[i] % sealed_len] ^= data[i + 1];
    CHECK((open_entry(entry, sealed_len) == FK_OK) == (memcmp(entry, sealed, sealed_len) == 0));
    return 0;
}
