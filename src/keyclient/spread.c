/* Quantiles of response times: see spread.h. */
#include "keyclient/spread.h"

#include <stddef.h>

#define FEW  20  /* a 95th percentile of less says nothing */
#define FADE 512 /* what is older than some hundred answers counts for little */

/* 4 for each octave: the highest bit of the time, and the two below it. */
static unsigned step_of(uint64_t us)
{
    unsigned octave;

    if (us < 4)
        return (unsigned)us;
    octave = 63 - (unsigned)__builtin_clzll(us);
    if (octave >= FK_SPREAD_STEPS / 4)
        return FK_SPREAD_STEPS - 1;
    return 4 * octave + (unsigned)(us >> (octave - 2) & 3);
}

/* The first time beyond a step. */
static uint64_t end_of(unsigned step)
{
    unsigned octave = step / 4;

    if (octave < 2)
        return (uint64_t)step + 1;
    return (uint64_t)(4 + step % 4 + 1) << (octave - 2);
}

void fk_spread_add(struct fk_spread *spread, uint64_t us)
{
    if (spread->total >= FADE) {
        spread->total = 0;
        for (size_t i = 0; i < FK_SPREAD_STEPS; i++)
            spread->total += spread->counts[i] /= 2;
    }
    spread->counts[step_of(us)]++;
    spread->total++;
}

uint64_t fk_spread_quantile(const struct fk_spread *spread, unsigned percent)
{
    uint32_t wanted = (spread->total * percent + 99) / 100, seen = 0;
    unsigned step = 0;

    if (spread->total < FEW)
        return 0;
    while (step < FK_SPREAD_STEPS - 1 && (seen += spread->counts[step]) < wanted)
        step++;
    return end_of(step);
}
