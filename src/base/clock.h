/* Time. Monotonic for everything that is compared; wall-clock for what people and logs read. */
#ifndef FK_BASE_CLOCK_H
#define FK_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds of CLOCK_MONOTONIC. */
uint64_t fk_clock_us(void);

/* Microseconds since 1970 (CLOCK_REALTIME). */
uint64_t fk_clock_wall_us(void);

/* "2026-11-20T19:16:29.123456Z" plus NUL: FK_CLOCK_TEXT_SIZE bytes written at `dst`. */
#define FK_CLOCK_TEXT_SIZE 28
void fk_clock_format(uint64_t wall_us, char dst[FK_CLOCK_TEXT_SIZE]);

#endif
