/* Requests on their way: see flights.h. */
#include "http/flights.h"

/* Keys are digests: any of their bytes is as good as a hash. Who chose URLs to meet in a bucket
 * would have to have as many requests under way. */
static size_t bucket_of(const struct fk_cachekey *key)
{
    return key->digest[0] % FK_FLIGHTS_BUCKETS;
}

void fk_flights_init(struct fk_flights *flights)
{
    for (size_t i = 0; i < FK_FLIGHTS_BUCKETS; i++)
        fk_list_init(&flights->buckets[i]);
}

void fk_flight_init(struct fk_flight *flight)
{
    *flight = (struct fk_flight){.leads = false};
    fk_list_init(&flight->link);
    fk_list_init(&flight->waiters);
}

void fk_flight_waiter_init(struct fk_flight_waiter *waiter,
                           void (*wake)(struct fk_flight_waiter *waiter))
{
    *waiter = (struct fk_flight_waiter){.wake = wake};
    fk_list_init(&waiter->link);
}

static struct fk_flight *leader_of(const struct fk_flights *flights, const struct fk_cachekey *key)
{
    const struct fk_list *bucket = &flights->buckets[bucket_of(key)];
    struct fk_list *item;

    fk_list_each (item, bucket) {
        struct fk_flight *flight = fk_container(item, struct fk_flight, link);

        if (flight->leads && !flight->doomed && fk_cachekey_same(&flight->key, key))
            return flight;
    }
    return NULL;
}

void fk_flight_begin(struct fk_flights *flights, struct fk_flight *flight,
                     const struct fk_cachekey *key, uint64_t until)
{
    flight->key = *key;
    flight->until = until;
    flight->leads = until > 0 && leader_of(flights, key) == NULL;
    flight->doomed = false;
    fk_list_append(&flights->buckets[bucket_of(key)], &flight->link);
}

bool fk_flight_led(const struct fk_flights *flights, const struct fk_cachekey *key)
{
    return leader_of(flights, key) != NULL;
}

bool fk_flight_join(struct fk_flights *flights, const struct fk_cachekey *key,
                    struct fk_flight_waiter *waiter)
{
    struct fk_flight *flight = leader_of(flights, key);

    if (flight == NULL)
        return false;
    waiter->news = FK_FLIGHT_NO_NEWS;
    fk_list_append(&flight->waiters, &waiter->link);
    return true;
}

void fk_flight_tell(struct fk_flight *flight, enum fk_flight_news news)
{
    struct fk_list *item;

    flight->leads = false;
    while ((item = fk_list_pop(&flight->waiters)) != NULL) {
        struct fk_flight_waiter *waiter = fk_container(item, struct fk_flight_waiter, link);

        waiter->news = news;
        waiter->wake(waiter);
    }
}

void fk_flight_end(struct fk_flight *flight)
{
    fk_list_del(&flight->link);
    fk_flight_tell(flight, FK_FLIGHT_GONE);
}

void fk_flight_leave(struct fk_flight_waiter *waiter)
{
    fk_list_del(&waiter->link);
}

static void doom_bucket(struct fk_list *bucket, const struct fk_cachekey *key)
{
    struct fk_list *item;

    fk_list_each (item, bucket) {
        struct fk_flight *flight = fk_container(item, struct fk_flight, link);

        if (key == NULL || fk_cachekey_same(&flight->key, key))
            flight->doomed = true;
    }
}

void fk_flights_doom(struct fk_flights *flights, const struct fk_cachekey *key)
{
    if (key != NULL) {
        doom_bucket(&flights->buckets[bucket_of(key)], key);
        return;
    }
    for (size_t i = 0; i < FK_FLIGHTS_BUCKETS; i++)
        doom_bucket(&flights->buckets[i], NULL);
}

void fk_flights_expire(struct fk_flights *flights, uint64_t now)
{
    struct fk_list *item;

    for (size_t i = 0; i < FK_FLIGHTS_BUCKETS; i++)
        fk_list_each (item, &flights->buckets[i]) {
            struct fk_flight *flight = fk_container(item, struct fk_flight, link);

            if (flight->leads && now >= flight->until)
                fk_flight_tell(flight, FK_FLIGHT_NOT_STORED);
        }
}
