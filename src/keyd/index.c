/*
 * The index: one array of keys and one hash table over all that names them. Built once, read only
 * afterwards. What it holds comes from our own master, yet it is read by a cursor like anything
 * else that another process wrote.
 */
#include "keyd/index.h"

#include "base/err.h"
#include "base/limits.h"
#include "base/reader.h"
#include "base/writer.h"

#include <stdlib.h>
#include <string.h>

struct slot {
    const void *data; /* NULL: free */
    uint32_t hash;
    uint32_t key; /* position */
    uint16_t len;
    uint8_t kind;
};

struct fk_index {
    struct fk_index_key *keys;
    size_t n_keys;
    struct slot *slots;
    size_t mask; /* number of slots - 1, a power of two */
};

/* FNV-1a: the table holds only our own data, so a peer cannot make it degenerate. */
static uint32_t hash_bytes(enum fk_index_kind kind, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint32_t hash = 2166136261U ^ (uint32_t)kind;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 16777619U;
    return hash;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static void encode_key(const struct fk_index_key *key, struct fk_writer *out)
{
    fk_writer_vec8(out, key->public.name, strlen(key->public.name));
    fk_writer_bytes(out, key->public.ski, sizeof key->public.ski);
    fk_writer_bytes(out, key->public.digest, sizeof key->public.digest);
    fk_writer_u8(out, (uint8_t)key->public.type);
    fk_writer_u16(out, key->public.bits);
    fk_writer_u16(out, key->public.permissions);
    fk_writer_bytes(out, key->cert_hash, sizeof key->cert_hash);
    fk_writer_u16(out, (uint16_t)key->n_names);
    for (size_t i = 0; i < key->n_names; i++)
        fk_writer_vec8(out, key->names[i], strlen(key->names[i]));
    fk_writer_u16(out, (uint16_t)key->n_addresses);
    for (size_t i = 0; i < key->n_addresses; i++)
        fk_writer_vec8(out, key->addresses[i].ip, key->addresses[i].len);
    fk_writer_vec16(out, key->chain, key->chain_len);
    fk_writer_u8(out, key->retired);
    fk_writer_u16(out, key->token);
    fk_writer_u8(out, key->split);
    fk_writer_u8(out, key->held);
    fk_writer_u16(out, (uint16_t)key->n_sharers);
    for (size_t i = 0; i < key->n_sharers; i++)
        fk_writer_vec8(out, key->sharers[i], strlen(key->sharers[i]));
}

static size_t encoded_size(const struct fk_index_key *key)
{
    size_t size = 256 + FK_NAME_MAX + key->chain_len + key->n_addresses * 17;

    for (size_t i = 0; i < key->n_names; i++)
        size += 1 + strlen(key->names[i]);
    for (size_t i = 0; i < key->n_sharers; i++)
        size += 1 + strlen(key->sharers[i]);
    return size;
}

int fk_index_encode(const struct fk_index_key *keys, size_t n, uint8_t **ret, size_t *ret_len)
{
    struct fk_writer out;
    uint8_t *mem;
    size_t size = 4, len;
    int err;

    if (n > FK_KEYD_KEYS_MAX)
        return FK_ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].n_names > FK_KEYD_NAMES_MAX || keys[i].n_addresses > FK_KEYD_NAMES_MAX ||
            keys[i].n_sharers > FK_KEYD_NAMES_MAX)
            return FK_ERR_LIMIT;
        size += encoded_size(&keys[i]);
    }
    if ((mem = malloc(size)) == NULL)
        return FK_ERR_NOMEM;
    fk_writer_init(&out, mem, size);
    fk_writer_u32(&out, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        encode_key(&keys[i], &out);
    if ((err = fk_writer_end(&out, &len)) != FK_OK) {
        free(mem);
        return err;
    }
    *ret = mem;
    *ret_len = len;
    return FK_OK;
}

/* A string of its own; a host name in lower case. */
static int read_text(struct fk_reader *in, bool is_host, char **ret)
{
    struct fk_reader text;
    char *name;
    int err;

    if ((err = fk_reader_vec8(in, &text)) != FK_OK)
        return err;
    if (text.left == 0 || text.left > FK_HOST_MAX)
        return FK_ERR_FORMAT;
    if ((name = malloc(text.left + 1)) == NULL)
        return FK_ERR_NOMEM;
    for (size_t i = 0; i < text.left; i++)
        name[i] = is_host ? lower((char)text.next[i]) : (char)text.next[i];
    name[text.left] = '\0';
    *ret = name;
    return FK_OK;
}

/* *ret_n counts what is there to be freed, also when this fails. */
static int read_texts(struct fk_reader *in, bool are_hosts, char ***ret, size_t *ret_n)
{
    uint16_t count;
    int err;

    if ((err = fk_reader_u16(in, &count)) != FK_OK)
        return err;
    if (count > FK_KEYD_NAMES_MAX)
        return FK_ERR_LIMIT;
    if (count == 0)
        return FK_OK;
    if ((*ret = calloc(count, sizeof **ret)) == NULL)
        return FK_ERR_NOMEM;
    for (; *ret_n < count; (*ret_n)++)
        if ((err = read_text(in, are_hosts, &(*ret)[*ret_n])) != FK_OK)
            return err;
    return FK_OK;
}

static int read_names(struct fk_reader *in, struct fk_index_key *key)
{
    int err = read_texts(in, true, &key->names, &key->n_names);

    if (err != FK_OK)
        return err;
    return key->n_names > 0 ? FK_OK : FK_ERR_LIMIT;
}

static int read_split(struct fk_reader *in, struct fk_index_key *key)
{
    uint8_t held;
    int err;

    if ((err = fk_reader_u8(in, &key->split)) != FK_OK || (err = fk_reader_u8(in, &held)) != FK_OK)
        return err;
    if (key->split > FK_SHARE_ADDITIVE || held > 1)
        return FK_ERR_FORMAT;
    key->held = held == 1;
    return read_texts(in, false, &key->sharers, &key->n_sharers);
}

static int read_addresses(struct fk_reader *in, struct fk_index_key *key)
{
    struct fk_reader ip;
    uint16_t count;
    int err;

    if ((err = fk_reader_u16(in, &count)) != FK_OK)
        return err;
    if (count > FK_KEYD_NAMES_MAX)
        return FK_ERR_LIMIT;
    if (count > 0 && (key->addresses = calloc(count, sizeof *key->addresses)) == NULL)
        return FK_ERR_NOMEM;
    for (; key->n_addresses < count; key->n_addresses++) {
        struct fk_index_address *addr = &key->addresses[key->n_addresses];

        if ((err = fk_reader_vec8(in, &ip)) != FK_OK)
            return err;
        if (ip.left != 4 && ip.left != 16)
            return FK_ERR_FORMAT;
        addr->len = (uint8_t)ip.left;
        if ((err = fk_reader_copy(&ip, addr->ip, addr->len)) != FK_OK)
            return err;
    }
    return FK_OK;
}

static int read_chain(struct fk_reader *in, struct fk_index_key *key)
{
    struct fk_reader chain;
    int err;

    if ((err = fk_reader_vec16(in, &chain)) != FK_OK)
        return err;
    if (chain.left == 0)
        return FK_OK;
    if ((key->chain = malloc(chain.left)) == NULL)
        return FK_ERR_NOMEM;
    key->chain_len = chain.left;
    return fk_reader_copy(&chain, key->chain, key->chain_len);
}

static int read_public(struct fk_reader *in, struct fk_key_public *public)
{
    struct fk_reader name;
    uint8_t type;
    int err;

    if ((err = fk_reader_vec8(in, &name)) != FK_OK)
        return err;
    if (name.left == 0 || name.left >= sizeof public->name)
        return FK_ERR_FORMAT;
    if ((err = fk_reader_copy(&name, public->name, name.left)) != FK_OK ||
        (err = fk_reader_copy(in, public->ski, sizeof public->ski)) != FK_OK ||
        (err = fk_reader_copy(in, public->digest, sizeof public->digest)) != FK_OK ||
        (err = fk_reader_u8(in, &type)) != FK_OK ||
        (err = fk_reader_u16(in, &public->bits)) != FK_OK ||
        (err = fk_reader_u16(in, &public->permissions)) != FK_OK)
        return err;
    if (type < FK_KEY_RSA || type > FK_KEY_ED25519)
        return FK_ERR_FORMAT;
    public->type = (enum fk_key_type)type;
    return FK_OK;
}

static int read_key(struct fk_reader *in, struct fk_index_key *key)
{
    uint8_t retired;
    int err;

    if ((err = read_public(in, &key->public)) != FK_OK ||
        (err = fk_reader_copy(in, key->cert_hash, sizeof key->cert_hash)) != FK_OK ||
        (err = read_names(in, key)) != FK_OK || (err = read_addresses(in, key)) != FK_OK)
        return err;
    if ((err = read_chain(in, key)) != FK_OK || (err = fk_reader_u8(in, &retired)) != FK_OK ||
        (err = fk_reader_u16(in, &key->token)) != FK_OK)
        return err;
    key->retired = retired != 0;
    return read_split(in, key);
}

static bool is_named(const struct slot *slot, uint32_t hash, enum fk_index_kind kind,
                     const void *data, size_t len)
{
    return slot->hash == hash && slot->kind == (uint8_t)kind && slot->len == len &&
           memcmp(slot->data, data, len) == 0; /* public data */
}

/* Of keys of one type with the same name only the first is ever found, and needed: thousands may
 * share a name. */
static void insert(struct fk_index *index, enum fk_index_kind kind, const void *data, size_t len,
                   size_t key)
{
    uint32_t hash = hash_bytes(kind, data, len);
    size_t at = hash & index->mask;

    for (; index->slots[at].data != NULL; at = (at + 1) & index->mask)
        if (is_named(&index->slots[at], hash, kind, data, len) &&
            index->keys[index->slots[at].key].public.type == index->keys[key].public.type)
            return;
    index->slots[at] = (struct slot){
        .data = data,
        .hash = hash,
        .key = (uint32_t)key,
        .len = (uint16_t)len,
        .kind = (uint8_t)kind,
    };
}

static void insert_key(struct fk_index *index, size_t i)
{
    static const uint8_t none[32];
    const struct fk_index_key *key = &index->keys[i];

    insert(index, FK_INDEX_SKI, key->public.ski, sizeof key->public.ski, i);
    insert(index, FK_INDEX_DIGEST, key->public.digest, sizeof key->public.digest, i);
    if (memcmp(key->cert_hash, none, sizeof none) != 0) /* public data */
        insert(index, FK_INDEX_CERT_HASH, key->cert_hash, sizeof key->cert_hash, i);
    for (size_t n = 0; n < key->n_names; n++)
        insert(index, FK_INDEX_NAME, key->names[n], strlen(key->names[n]), i);
    for (size_t n = 0; n < key->n_addresses; n++)
        insert(index, FK_INDEX_ADDRESS, key->addresses[n].ip, key->addresses[n].len, i);
}

/* Insertion is in the order of the keys and probing is linear: the first key of a name stays the
 * first that a search meets. */
static int build_table(struct fk_index *index)
{
    size_t entries = 0, slots = 16;

    for (size_t i = 0; i < index->n_keys; i++)
        entries += 3 + index->keys[i].n_names + index->keys[i].n_addresses;
    while (slots < 2 * entries)
        slots *= 2;
    if ((index->slots = calloc(slots, sizeof *index->slots)) == NULL)
        return FK_ERR_NOMEM;
    index->mask = slots - 1;
    for (size_t i = 0; i < index->n_keys; i++)
        insert_key(index, i);
    return FK_OK;
}

int fk_index_load(const void *data, size_t len, struct fk_index **ret)
{
    struct fk_index *index;
    struct fk_reader in;
    uint32_t count;
    int err;

    fk_reader_init(&in, data, len);
    if ((err = fk_reader_u32(&in, &count)) != FK_OK)
        return err;
    if (count > FK_KEYD_KEYS_MAX)
        return FK_ERR_LIMIT;
    if ((index = calloc(1, sizeof *index)) == NULL)
        return FK_ERR_NOMEM;
    err = FK_ERR_NOMEM;
    if (count > 0 && (index->keys = calloc(count, sizeof *index->keys)) == NULL)
        goto out;
    for (index->n_keys = 0; index->n_keys < count; index->n_keys++)
        if ((err = read_key(&in, &index->keys[index->n_keys])) != FK_OK) {
            index->n_keys++; /* free what the failed one has */
            goto out;
        }
    if ((err = fk_reader_end(&in)) != FK_OK || (err = build_table(index)) != FK_OK)
        goto out;
    *ret = index;
    index = NULL; /* moved */
out:
    fk_index_free(index);
    return err;
}

void fk_index_key_fini(struct fk_index_key *key)
{
    for (size_t i = 0; i < key->n_names; i++)
        free(key->names[i]);
    free(key->names);
    for (size_t i = 0; i < key->n_sharers; i++)
        free(key->sharers[i]);
    free(key->sharers);
    free(key->addresses);
    free(key->chain);
    *key = (struct fk_index_key){.n_names = 0};
}

void fk_index_free(struct fk_index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < index->n_keys; i++)
        fk_index_key_fini(&index->keys[i]);
    free(index->keys);
    free(index->slots);
    free(index);
}

static const struct fk_index_key *find_exact(const struct fk_index *index, enum fk_index_kind kind,
                                             const void *data, size_t len, unsigned types)
{
    uint32_t hash = hash_bytes(kind, data, len);

    for (size_t at = hash & index->mask;; at = (at + 1) & index->mask) {
        const struct slot *slot = &index->slots[at];
        const struct fk_index_key *key;

        if (slot->data == NULL)
            return NULL;
        if (!is_named(slot, hash, kind, data, len))
            continue;
        key = &index->keys[slot->key];
        if ((types & (1U << key->public.type)) != 0)
            return key;
    }
}

static const struct fk_index_key *find_name(const struct fk_index *index, const char *name,
                                            size_t len, unsigned types)
{
    char text[FK_HOST_MAX + 2];
    const struct fk_index_key *key;
    const char *dot;

    if (len == 0 || len > FK_HOST_MAX)
        return NULL;
    for (size_t i = 0; i < len; i++)
        text[i + 1] = lower(name[i]);
    if ((key = find_exact(index, FK_INDEX_NAME, text + 1, len, types)) != NULL)
        return key;
    dot = memchr(text + 1, '.', len);
    if (dot == NULL || dot == text + 1)
        return NULL;
    /* "www.example.com" -> "*.example.com", in place: the label before the dot is not empty. */
    len -= (size_t)(dot - (text + 1));
    text[dot - text - 1] = '*';
    return find_exact(index, FK_INDEX_NAME, dot - 1, len + 1, types);
}

const struct fk_index_key *fk_index_find(const struct fk_index *index, enum fk_index_kind kind,
                                         const void *data, size_t len, unsigned types)
{
    if (index->n_keys == 0 || data == NULL)
        return NULL;
    if (kind == FK_INDEX_NAME)
        return find_name(index, data, len, types);
    return find_exact(index, kind, data, len, types);
}

size_t fk_index_count(const struct fk_index *index)
{
    return index->n_keys;
}

const struct fk_index_key *fk_index_at(const struct fk_index *index, size_t i)
{
    return i < index->n_keys ? &index->keys[i] : NULL;
}

size_t fk_index_position(const struct fk_index *index, const struct fk_index_key *key)
{
    return (size_t)(key - index->keys);
}
