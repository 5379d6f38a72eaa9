/*
 * The tables of token blocks (keyd.conf) and of NAME.token, with the checks that need more than one
 * option. Owns no state.
 */
#include "keyd/conf.h"

#include "base/limits.h"
#include "base/text.h"
#include "conf/users.h"
#include "signer/keyset_token.h"

#include <stdlib.h>
#include <string.h>

#define TOKEN(member) offsetof(struct fk_keyd_token_conf, member)
#define PLACE(member) offsetof(struct fk_key_token_conf, member)

static const struct fk_conf_name type_names[] = {
    {"pkcs11", FK_TOKEN_PKCS11, "an HSM, smart card or soft token, by its PKCS#11 module"},
    {"tpm2", FK_TOKEN_TPM2, "a TPM 2.0, by OpenSSL's provider tpm2 (package tpm2-openssl)"},
    {NULL, 0, NULL},
};

/* --- values --- */

static const char *check_text(const void *value)
{
    return strlen(*(char *const *)value) < FK_TOKEN_TEXT_MAX ? NULL
                                                             : "too long; at most 255 characters";
}

static const char *check_token_label(const void *value)
{
    size_t len = strlen(*(char *const *)value);

    return len > 0 && len <= 32 ? NULL : "not a token's label; those have 1 to 32 characters";
}

static const char *check_serial(const void *value)
{
    size_t len = strlen(*(char *const *)value);

    return len > 0 && len <= 16 ? NULL : "not a serial number; those have 1 to 16 characters";
}

static const char *check_key_label(const void *value)
{
    size_t len = strlen(*(char *const *)value);

    return len > 0 && len < FK_TOKEN_LABEL_MAX ? NULL : "not a label; write 1 to 127 characters";
}

static const char *check_id(const void *value)
{
    const char *text = *(char *const *)value;
    size_t len = strlen(text);

    if (len == 0 || len % 2 != 0 || len > 2 * (size_t)FK_TOKEN_ID_MAX ||
        strspn(text, "0123456789abcdefABCDEF") != len)
        return "not an id; write its bytes as hexadecimal digits, such as \"01af\"";
    return NULL;
}

static const char *check_handle(const void *value)
{
    char *end;
    unsigned long handle = strtoul(*(char *const *)value, &end, 16);

    if (*end != '\0' || handle < 0x81000000UL || handle > 0x81ffffffUL)
        return "not a persistent handle; those are 0x81000000 to 0x81ffffff";
    return NULL;
}

/* --- token blocks --- */

static void need(struct fk_keyd_token_conf *token, struct fk_conf *conf, const char *option,
                 const char *text)
{
    if (!fk_conf_is_bad(&token->block, option))
        fk_conf_blame(conf, &token->block, option, "token \"%s\": %s", token->block.title, text);
}

static void check_pkcs11(struct fk_keyd_token_conf *token, struct fk_conf *conf)
{
    if (token->module == NULL)
        need(token, conf, "module",
             "no module; write module = \"/usr/lib/softhsm/libsofthsm2.so\" or the like");
    if (token->label == NULL && token->serial == NULL && !fk_conf_is_set(&token->block, "slot") &&
        !fk_conf_is_bad(&token->block, "serial") && !fk_conf_is_bad(&token->block, "slot"))
        need(token, conf, "label",
             "which token is not said; write label, serial or slot, as pkcs11-tool "
             "--list-token-slots shows them");
    if (token->tcti != NULL)
        need(token, conf, "tcti", "tcti is for type = tpm2");
}

static void check_tpm2(struct fk_keyd_token_conf *token, struct fk_conf *conf)
{
    const struct {
        const char *name, *text;
    } options[] = {{"module", "module is for type = pkcs11"},
                   {"label", "label is for type = pkcs11"},
                   {"serial", "serial is for type = pkcs11"},
                   {"slot", "slot is for type = pkcs11"}};

    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (fk_conf_is_set(&token->block, options[i].name))
            need(token, conf, options[i].name, options[i].text);
}

static void check_token(void *block, struct fk_conf *conf)
{
    struct fk_keyd_token_conf *token = block;

    if (strlen(token->block.title) >= FK_NAME_MAX)
        fk_conf_blame(conf, &token->block, NULL, "token: name too long; at most %d characters",
                      FK_NAME_MAX - 1);
    if (token->paths.count > FK_TOKEN_PATHS_MAX)
        need(token, conf, "paths", "too many paths; at most 16");
    for (size_t i = 0; i < token->paths.count; i++)
        if (strlen(token->paths.items[i]) >= FK_TOKEN_TEXT_MAX)
            need(token, conf, "paths", "a path is too long; at most 255 characters");
    if (fk_conf_is_bad(&token->block, "type"))
        return;
    if (token->type == FK_TOKEN_PKCS11)
        check_pkcs11(token, conf);
    else
        check_tpm2(token, conf);
}

static const struct fk_conf_option token_options[] = {
    {.name = "type",
     .type = FK_CONF_ENUM,
     .offset = TOKEN(type),
     .required = true,
     .names = type_names,
     .help = "What kind of token it is."},
    {.name = "module",
     .type = FK_CONF_PATH,
     .offset = TOKEN(module),
     .check = check_text,
     .help = "PKCS#11: the shared library of the token's maker."},
    {.name = "label",
     .type = FK_CONF_STRING,
     .offset = TOKEN(label),
     .check = check_token_label,
     .help = "PKCS#11: the token's label."},
    {.name = "serial",
     .type = FK_CONF_STRING,
     .offset = TOKEN(serial),
     .check = check_serial,
     .help = "PKCS#11: the token's serial number."},
    {.name = "slot",
     .type = FK_CONF_INT,
     .offset = TOKEN(slot),
     .help = "PKCS#11: the number of the token's slot. Some modules give others after a restart: "
             "label or serial are surer. With several of the three, all must fit."},
    {.name = "pin_file",
     .type = FK_CONF_PATH,
     .offset = TOKEN(pin_file),
     .help = "File whose first line is the user's PIN (PKCS#11) or the authorisation value of the "
             "keys (TPM). A PIN that was refused is not tried again before a reload."},
    {.name = "tcti",
     .type = FK_CONF_STRING,
     .offset = TOKEN(tcti),
     .check = check_text,
     .help =
         "TPM: how it is reached, such as \"device:/dev/tpmrm0\". Default: what the TSS finds."},
    {.name = "sessions",
     .type = FK_CONF_INT,
     .offset = TOKEN(sessions),
     .fallback = "4",
     .min = 1,
     .max = FK_TOKEN_SESSIONS_MAX,
     .help = "Operations with the token at one time, each in a session of its own. A TPM does one "
             "at a time, whatever stands here."},
    {.name = "queue",
     .type = FK_CONF_INT,
     .offset = TOKEN(queue),
     .fallback = "256",
     .min = 1,
     .max = FK_TOKEN_QUEUE_MAX,
     .help = "Operations that may wait for a session; more are refused at once."},
    {.name = "user",
     .type = FK_CONF_STRING,
     .offset = TOKEN(user),
     .check = fk_users_check,
     .help = "User of the token's process when started as root; it needs access to the token. "
             "Default: farkey-token, or nobody on a host without that account."},
    {.name = "paths",
     .type = FK_CONF_PATHS,
     .offset = TOKEN(paths),
     .help = "Folders, devices and sockets that the module needs to write to, such as the folder "
             "of a soft token. Without them it can only read /usr, /lib, /etc and /opt."},
    {.name = NULL},
};

const struct fk_conf_kind fk_keyd_token_kind = {
    .name = "token",
    .size = sizeof(struct fk_keyd_token_conf),
    .titled = true,
    .list_offset = offsetof(struct fk_keyd_conf, tokens),
    .options = token_options,
    .help = "An HSM or TPM, with a process of its own. NAME.token in a key directory, in the place "
            "of NAME.key, is a key in it: token = \"TITLE\" and label or id (PKCS#11), or file or "
            "handle (TPM). Its public half is that of NAME.crt, or of NAME.pub where there is "
            "no certificate yet.",
    .check = check_token,
};

/* --- NAME.token --- */

static void check_place(void *block, struct fk_conf *conf)
{
    struct fk_key_token_conf *place = block;

    if (place->label == NULL && place->id == NULL && place->file == NULL && place->handle == NULL &&
        !fk_conf_is_bad(&place->block, "label") && !fk_conf_is_bad(&place->block, "id") &&
        !fk_conf_is_bad(&place->block, "file") && !fk_conf_is_bad(&place->block, "handle"))
        fk_conf_complain(conf, &place->block.where,
                         "which key is not said; write label or id, or file or handle for a TPM");
    if (place->file != NULL && place->handle != NULL)
        fk_conf_blame(conf, &place->block, "handle", "both file and handle; write one");
}

static const struct fk_conf_option place_options[] = {
    {.name = "token",
     .type = FK_CONF_STRING,
     .offset = PLACE(token),
     .required = true,
     .help = "The title of the token's block in keyd.conf."},
    {.name = "label",
     .type = FK_CONF_STRING,
     .offset = PLACE(label),
     .check = check_key_label,
     .help = "PKCS#11: the private key's label (CKA_LABEL)."},
    {.name = "id",
     .type = FK_CONF_STRING,
     .offset = PLACE(id),
     .check = check_id,
     .help = "PKCS#11: the private key's id (CKA_ID) in hexadecimal digits."},
    {.name = "file",
     .type = FK_CONF_PATH,
     .offset = PLACE(file),
     .help = "TPM: the key's file, TSS2 PRIVATE KEY in PEM, which only its TPM can open."},
    {.name = "handle",
     .type = FK_CONF_STRING,
     .offset = PLACE(handle),
     .check = check_handle,
     .help = "TPM: the key's persistent handle, such as \"0x81000001\"."},
    {.name = NULL},
};

const struct fk_conf_kind fk_key_token_conf_kind = {
    .name = "token",
    .size = sizeof(struct fk_key_token_conf),
    .options = place_options,
    .help = "NAME.token in the place of NAME.key in a key directory: a key in a token.",
    .check = check_place,
};
