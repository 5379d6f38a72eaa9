/*
 * How response times spread: counts by size, four steps to an octave, of which the older ones fade.
 * For a quantile of the recent past in little memory and without sorting.
 */
#ifndef FK_KEYCLIENT_SPREAD_H
#define FK_KEYCLIENT_SPREAD_H

#include <stdint.h>

#define FK_SPREAD_STEPS 128 /* up to 2^32 us */

struct fk_spread {
    uint16_t counts[FK_SPREAD_STEPS];
    uint32_t total;
};

void fk_spread_add(struct fk_spread *spread, uint64_t us);

/*
 * The time that `percent` (1 to 100) of those seen do not exceed, within a fifth, upwards; 0: too
 * few were seen to tell.
 */
uint64_t fk_spread_quantile(const struct fk_spread *spread, unsigned percent);

#endif
