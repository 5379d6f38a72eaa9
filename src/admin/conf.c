/* See conf.h. Reads a secret and hands it on; keeps nothing of it. */
#include "admin/conf.h"

#include "base/err.h"
#include "base/limits.h"
#include "loop/addr.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const char *check_address(const void *value)
{
    struct fk_addr addr;

    if (fk_addr_parse(*(char *const *)value, &addr) != FK_OK)
        return "not an address; write \"127.0.0.1:9464\", \"[::1]:9464\" or \"unix:/path\"";
    return NULL;
}

#define OPTIONS(fallback)                                                                        \
    {                                                                                            \
        {"listen",                                                                               \
         FK_CONF_STRING,                                                                         \
         offsetof(struct fk_admin_conf, listen),                                                 \
         fallback,                                                                               \
         .check = check_address,                                                                 \
         .help = "Address of the status page, /status, /metrics, /healthz and /readyz: "         \
                 "\"" fallback "\" or \"unix:/path\". Beyond loopback a token is needed."},      \
            {"token", FK_CONF_PATH, offsetof(struct fk_admin_conf, token), NULL,                 \
             .help = "File with the token that requests must bring, as Authorization: Bearer "   \
                     "TOKEN: 16 to 256 letters, digits and - . _ ~ + / = on one line. Make one " \
                     "with openssl rand -hex 32; others may not read the file."},                \
        {                                                                                        \
            NULL                                                                                 \
        }                                                                                        \
    }

const struct fk_conf_option fk_admin_edge_options[] = OPTIONS("127.0.0.1:9464");
const struct fk_conf_option fk_admin_keyd_options[] = OPTIONS("127.0.0.1:9465");

/* Whether only processes of this host can connect. */
static bool is_local(const char *listen)
{
    static const char *const loopback[] = {"127.0.0.0/8", "::1"};
    struct fk_addr addr;
    struct fk_range range;

    if (fk_addr_parse(listen, &addr) != FK_OK)
        return true; /* that is complained of elsewhere */
    if (addr.storage.ss_family == AF_UNIX)
        return true;
    for (size_t i = 0; i < sizeof loopback / sizeof loopback[0]; i++)
        if (fk_range_parse(loopback[i], &range) == FK_OK && fk_range_has(&range, &addr))
            return true;
    return false;
}

void fk_admin_conf_check(void *block, struct fk_conf *conf)
{
    const struct fk_admin_conf *admin = block;

    if (fk_conf_is_bad(&admin->block, "listen") || fk_conf_is_bad(&admin->block, "token") ||
        admin->token != NULL || is_local(admin->listen))
        return;
    fk_conf_blame(
        conf, &admin->block, "listen",
        "admin: others than this host can connect to %s: write token = \"FILE\", or listen "
        "on loopback or unix:/path",
        admin->listen);
}

static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~+/=", c) != NULL);
}

/* The file's only line, without its end. */
static int parse_token(const char *text, size_t len, struct fk_secret **ret)
{
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (len < FK_ADMIN_TOKEN_MIN || len > FK_ADMIN_TOKEN_MAX)
        return FK_ERR_RANGE;
    for (size_t i = 0; i < len; i++)
        if (!is_token_byte(text[i]))
            return FK_ERR_FORMAT;
    return fk_secret_dup(text, len, ret);
}

int fk_admin_token_read(const struct fk_admin_conf *admin, struct fk_bundle *bundle,
                        struct fk_conf *conf, struct fk_secret **ret)
{
    struct fk_secret *token = NULL;
    const uint8_t *data;
    size_t len;
    int err, number;

    *ret = NULL;
    if (admin == NULL || admin->token == NULL || fk_conf_is_bad(&admin->block, "token"))
        return FK_OK;
    if ((err = fk_bundle_read_secret(bundle, admin->token, &data, &len)) == FK_OK)
        err = parse_token((const char *)data, len, &token);
    number = errno;
    fk_bundle_drop(bundle, admin->token);
    if (err == FK_ERR_RANGE || err == FK_ERR_FORMAT)
        fk_conf_blame(
            conf, &admin->block, "token",
            "admin: token %s: not one line of %d to %d letters, digits and - . _ ~ + / =; "
            "make one with openssl rand -hex 32",
            admin->token, FK_ADMIN_TOKEN_MIN, FK_ADMIN_TOKEN_MAX);
    else if (err != FK_OK && err != FK_ERR_NOMEM)
        fk_conf_blame(conf, &admin->block, "token", "admin: token %s: %s", admin->token,
                      err == FK_ERR_SYS ? strerror(number) : fk_err_text(err));
    *ret = token;
    return err == FK_ERR_NOMEM ? err : FK_OK;
}
