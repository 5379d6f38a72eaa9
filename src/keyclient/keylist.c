/*
 * A key server's listing (INFO): copies of its keys, page by page.
 *
 * Owns the copies. A listing is looked at only when complete; a damaged page spoils all of it.
 */
#include "keyclient/internal.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

void fk_keylist_clear(struct fk_keylist *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->memory[i]);
    fk_map_fini(&list->skis);
    free(list->memory);
    free(list->keys);
    *list = (struct fk_keylist){0};
}

static int grow(struct fk_keylist *list)
{
    size_t size = list->size == 0 ? 16 : 2 * list->size;
    struct fk_info_key *keys;
    uint8_t **memory;

    if (list->n < list->size)
        return FK_OK;
    if (list->n >= FK_KEYLIST_KEYS_MAX)
        return FK_ERR_LIMIT;
    memory = realloc(list->memory, size * sizeof *memory);
    if (memory == NULL)
        return FK_ERR_NOMEM;
    list->memory = memory;
    keys = realloc(list->keys, size * sizeof *keys);
    if (keys == NULL)
        return FK_ERR_NOMEM;
    list->keys = keys;
    list->size = size;
    return FK_OK;
}

static int add_key(struct fk_keylist *list, const struct fk_info_key *key)
{
    size_t len = key->name.left + key->chain.left;
    struct fk_info_key *copy;
    uint8_t *memory;
    int err = grow(list);

    if (err != FK_OK)
        return err;
    if (len > FK_KEYLIST_BYTES_MAX - list->bytes)
        return FK_ERR_LIMIT;
    memory = malloc(sizeof key->ski + len);
    if (memory == NULL)
        return FK_ERR_NOMEM;
    list->memory[list->n] = memory;
    copy = &list->keys[list->n++];
    memcpy(memory, key->ski, sizeof key->ski);
    if ((err = fk_map_add(&list->skis, memory, sizeof key->ski, memory, NULL)) != FK_OK)
        return err;
    memory += sizeof key->ski;
    memcpy(memory, key->name.next, key->name.left);
    memcpy(memory + key->name.left, key->chain.next, key->chain.left);
    *copy = *key;
    fk_reader_init(&copy->name, memory, key->name.left);
    fk_reader_init(&copy->chain, memory + key->name.left, key->chain.left);
    list->bytes += len;
    return FK_OK;
}

int fk_keylist_add(struct fk_keylist *list, struct fk_info_answer *page)
{
    struct fk_info_key key;
    int err;

    while ((err = fk_info_key_next(page, &key)) == FK_OK)
        if ((err = add_key(list, &key)) != FK_OK)
            return err;
    return err == FK_ERR_NOT_FOUND ? FK_OK : err;
}

static bool same_bytes(const struct fk_reader *a, const struct fk_reader *b)
{
    return a->left == b->left && memcmp(a->next, b->next, a->left) == 0;
}

bool fk_keylist_equal(const struct fk_keylist *a, const struct fk_keylist *b)
{
    if (a->complete != b->complete || a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct fk_info_key *x = &a->keys[i], *y = &b->keys[i];

        if (memcmp(x->ski, y->ski, sizeof x->ski) != 0 || x->type != y->type ||
            x->permissions != y->permissions || !same_bytes(&x->name, &y->name) ||
            !same_bytes(&x->chain, &y->chain))
            return false;
    }
    return true;
}

bool fk_keylist_has(const struct fk_keylist *list, const uint8_t ski[FK_SKI_SIZE])
{
    return list->complete && fk_map_find(&list->skis, ski, FK_SKI_SIZE) != NULL;
}
