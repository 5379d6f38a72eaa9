/*
 * Requests that are on their way to an origin and whose answers may be stored: so that many who
 * want the same ask once (collapsed forwarding), and what was asked before a change is not stored
 * behind it. A table of those in flight, by key; the entries are their owners'.
 */
#ifndef FK_HTTP_FLIGHTS_H
#define FK_HTTP_FLIGHTS_H

#include "base/list.h"
#include "http/cachekey.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FK_FLIGHTS_BUCKETS 256

struct fk_flights {
    struct fk_list buckets[FK_FLIGHTS_BUCKETS];
};

/* What those who wait are told. */
enum fk_flight_news {
    FK_FLIGHT_NO_NEWS,
    FK_FLIGHT_STORED,     /* look again: it is there, if it is one for them */
    FK_FLIGHT_NOT_STORED, /* it is not for others: everybody asks for himself */
    FK_FLIGHT_FAILED,     /* the origin fails: what is stored may bridge it (RFC 5861 section 4) */
    FK_FLIGHT_GONE,       /* whoever asked has gone: another may ask for all */
};

struct fk_flight {
    struct fk_list link; /* points to itself: not in flight */
    struct fk_cachekey key;
    struct fk_list waiters;
    uint64_t until; /* nobody waits longer; by the even clock */
    bool leads;     /* others may wait for it */
    bool doomed;    /* the target was changed or purged meanwhile: not to be stored */
};

struct fk_flight_waiter {
    struct fk_list link; /* points to itself: does not wait */
    enum fk_flight_news news;
    void (*wake)(struct fk_flight_waiter *waiter); /* notes that there are news, and does no more */
};

void fk_flights_init(struct fk_flights *flights);

/* An entry that is not in flight; a waiter that does not wait. */
void fk_flight_init(struct fk_flight *flight);
void fk_flight_waiter_init(struct fk_flight_waiter *waiter,
                           void (*wake)(struct fk_flight_waiter *waiter));

/* `until`: others may wait for it so long, if nobody leads for this key yet; 0: nobody waits. */
void fk_flight_begin(struct fk_flights *flights, struct fk_flight *flight,
                     const struct fk_cachekey *key, uint64_t until);

/* Whether somebody leads: then wait for his news. */
bool fk_flight_join(struct fk_flights *flights, const struct fk_cachekey *key,
                    struct fk_flight_waiter *waiter);

/* Tell all who wait; nobody waits for it any more. */
void fk_flight_tell(struct fk_flight *flight, enum fk_flight_news news);

/* It is over: who waits yet is told FK_FLIGHT_GONE. Harmless twice. */
void fk_flight_end(struct fk_flight *flight);

/* Do not wait any more. Harmless twice. */
void fk_flight_leave(struct fk_flight_waiter *waiter);

/* Those whose time is over by now lead nobody any more: who waits is told FK_FLIGHT_NOT_STORED. */
void fk_flights_expire(struct fk_flights *flights, uint64_t now);

/* Whether somebody leads for this key. */
bool fk_flight_led(const struct fk_flights *flights, const struct fk_cachekey *key);

/* What is in flight for this key (NULL: for any) is not to be stored. */
void fk_flights_doom(struct fk_flights *flights, const struct fk_cachekey *key);

#endif
