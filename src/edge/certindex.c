/* Tables of certificates by name, a set for each type of key: see certindex.h. */
#include "edge/certindex.h"

#include "base/err.h"
#include "base/map.h"
#include "base/text.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const int types[] = {EVP_PKEY_EC, EVP_PKEY_RSA, EVP_PKEY_ED25519};

enum { TYPES = sizeof types / sizeof types[0] };

_Static_assert(TYPES == FK_EDGE_CERTS_MAX, "a site has one certificate for each type of key");

struct fk_certindex {
    struct fk_listed **items; /* referenced: what the tables borrow from */
    size_t count, cap;
    struct fk_map ids;
    struct fk_map keys[TYPES];  /* by the name of the key */
    struct fk_map names[TYPES]; /* by a name of the certificate */
};

int fk_certindex_new(struct fk_certindex **ret)
{
    struct fk_certindex *index = calloc(1, sizeof *index);

    if (index == NULL)
        return FK_ERR_NOMEM;
    *ret = index;
    return FK_OK;
}

void fk_certindex_free(struct fk_certindex *index)
{
    if (index == NULL)
        return;
    fk_map_fini(&index->ids);
    for (size_t i = 0; i < TYPES; i++) {
        fk_map_fini(&index->keys[i]);
        fk_map_fini(&index->names[i]);
    }
    for (size_t i = 0; i < index->count; i++)
        fk_listed_unref(index->items[i]);
    free(index->items);
    free(index);
}

static int append(struct fk_certindex *index, struct fk_listed *listed)
{
    struct fk_listed **items;
    size_t cap;

    if (index->count == index->cap) {
        cap = index->cap == 0 ? 16 : 2 * index->cap;
        if ((items = realloc(index->items, cap * sizeof(struct fk_listed *))) == NULL)
            return FK_ERR_NOMEM;
        index->items = items;
        index->cap = cap;
    }
    index->items[index->count++] = fk_listed_ref(listed);
    return FK_OK;
}

static int add_names(struct fk_certindex *index, size_t type, struct fk_listed *listed)
{
    int err =
        fk_map_add(&index->keys[type], listed->key_name, strlen(listed->key_name), listed, NULL);

    for (size_t i = 0; err == FK_OK && i < listed->n_names; i++)
        err = fk_map_add(&index->names[type], listed->names[i], strlen(listed->names[i]), listed,
                         NULL);
    return err;
}

int fk_certindex_add(struct fk_certindex *index, struct fk_listed *listed)
{
    int err;

    if ((err = append(index, listed)) != FK_OK ||
        (err = fk_map_add(&index->ids, listed->id, sizeof listed->id, listed, NULL)) != FK_OK)
        return err;
    for (size_t i = 0; err == FK_OK && listed->cert.leaf != NULL && i < TYPES; i++)
        if (types[i] == listed->cert.type)
            err = add_names(index, i, listed);
    return err;
}

struct fk_listed *fk_certindex_known(const struct fk_certindex *index,
                                     const uint8_t id[FK_LISTED_ID_SIZE])
{
    return index == NULL ? NULL : fk_map_find(&index->ids, id, FK_LISTED_ID_SIZE);
}

size_t fk_certindex_count(const struct fk_certindex *index)
{
    return index == NULL ? 0 : index->count;
}

/* By `name` in lower case, or by the wildcard that it falls under. */
static const struct fk_listed *find_name(const struct fk_map *names, char *name)
{
    const struct fk_listed *listed = fk_map_find(names, name, strlen(name));
    char *dot = strchr(name, '.');
    char before;

    if (listed != NULL || dot == NULL || dot == name || name[0] == '*')
        return listed;
    before = dot[-1];
    dot[-1] = '*'; /* "www.example.com" -> "*.example.com", in place */
    listed = fk_map_find(names, dot - 1, strlen(dot - 1));
    dot[-1] = before;
    return listed;
}

size_t fk_certindex_find(const struct fk_certindex *index, const char *title, const char *name,
                         const struct fk_listed *ret[FK_EDGE_CERTS_MAX])
{
    char text[FK_HOST_MAX + 1] = "";
    size_t count = 0, len = strlen(name);

    if (len <= FK_HOST_MAX)
        fk_text_lower(name, len, text);
    for (size_t i = 0; index != NULL && i < TYPES; i++) {
        const struct fk_listed *listed = fk_map_find(&index->keys[i], title, strlen(title));

        if (listed == NULL)
            listed = find_name(&index->names[i], text);
        if (listed != NULL)
            ret[count++] = listed;
    }
    return count;
}
