/* Reading a listing: see listing.h. Holds nothing of the source from one step to the next. */
#include "edge/listing.h"

#include "base/err.h"
#include "base/log.h"

#include <stdlib.h>

struct fk_listing {
    OSSL_LIB_CTX *libctx;
    struct fk_listing_source source;
    struct fk_certindex *index; /* of listing `number` */
    uint64_t number;
    struct fk_certindex *next; /* being made; NULL: none is */
    uint64_t next_number;
    struct fk_certindex *rest; /* of one that was given up for another: what was read in vain */
    size_t at;
};

int fk_listing_new(OSSL_LIB_CTX *libctx, const struct fk_listing_source *source,
                   struct fk_listing **ret)
{
    struct fk_listing *listing = calloc(1, sizeof *listing);

    if (listing == NULL)
        return FK_ERR_NOMEM;
    listing->libctx = libctx;
    listing->source = *source;
    *ret = listing;
    return FK_OK;
}

void fk_listing_free(struct fk_listing *listing)
{
    if (listing == NULL)
        return;
    fk_certindex_free(listing->index);
    fk_certindex_free(listing->next);
    fk_certindex_free(listing->rest);
    free(listing);
}

/* Listings may come faster than one is read: each gets further by what the last has read. */
static void give_up(struct fk_listing *listing)
{
    if (fk_certindex_count(listing->next) > fk_certindex_count(listing->rest)) {
        fk_certindex_free(listing->rest);
        listing->rest = listing->next;
    } else {
        fk_certindex_free(listing->next);
    }
    listing->next = NULL; /* moved, or freed */
}

static int begin(struct fk_listing *listing, uint64_t number)
{
    give_up(listing);
    listing->next_number = number;
    listing->at = 0;
    return fk_certindex_new(&listing->next);
}

static void finish(struct fk_listing *listing)
{
    fk_certindex_free(listing->index);
    fk_certindex_free(listing->rest);
    listing->rest = NULL;
    listing->index = listing->next;
    listing->number = listing->next_number;
    listing->next = NULL; /* moved */
}

static struct fk_listed *find_known(const struct fk_listing *listing, const uint8_t *id)
{
    struct fk_listed *listed = fk_certindex_known(listing->index, id);

    return listed != NULL ? listed : fk_certindex_known(listing->rest, id);
}

static int take(struct fk_listing *listing, const struct fk_info_key *key, unsigned *ret_cost)
{
    uint8_t id[FK_LISTED_ID_SIZE];
    struct fk_listed *listed;
    int err;

    if ((err = fk_listed_id(key, id)) != FK_OK)
        return err;
    if ((listed = find_known(listing, id)) != NULL)
        return fk_certindex_add(listing->next, listed);
    *ret_cost = FK_EDGE_RENEW_HEAVY;
    if ((err = fk_listed_new(listing->libctx, key, id, &listed)) != FK_OK)
        return err;
    err = fk_certindex_add(listing->next, listed);
    fk_listed_unref(listed);
    return err;
}

unsigned fk_listing_step(struct fk_listing *listing)
{
    uint64_t number = listing->source.number(listing->source.arg);
    struct fk_info_key key;
    unsigned cost = 1;
    int err = FK_OK;

    if (number == 0 || number == listing->number)
        return 0;
    if (listing->next == NULL || number != listing->next_number)
        err = begin(listing, number);
    else if (listing->source.key(listing->source.arg, listing->at++, &key) == FK_OK)
        err = take(listing, &key, &cost);
    else
        finish(listing);
    if (err == FK_OK)
        return cost;
    /* The earlier one stays until there is another. */
    fk_log(FK_LOG_ERROR, "keys of the key server cannot be read", fk_error(err));
    fk_certindex_free(listing->next);
    listing->next = NULL;
    listing->number = number;
    return cost;
}

const struct fk_certindex *fk_listing_index(const struct fk_listing *listing)
{
    return listing->index;
}
