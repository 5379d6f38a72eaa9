/* The clocks: see clock.h. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
    struct timespec ts;

    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t fk_clock_us(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t fk_clock_wall_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

void fk_clock_format(uint64_t wall_us, char dst[FK_CLOCK_TEXT_SIZE])
{
    time_t seconds = (time_t)(wall_us / 1000000);
    char date[24];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    if (strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        date[0] = '\0';
    snprintf(dst, FK_CLOCK_TEXT_SIZE, "%.19s.%06uZ", date, (unsigned)(wall_us % 1000000));
}
