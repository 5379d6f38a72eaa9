/* For fuzz targets: a property that does not hold ends the run, whatever NDEBUG says. */
#ifndef FK_TESTS_FUZZ_CHECK_H
#define FK_TESTS_FUZZ_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define CHECK(condition)  \
    do {                  \
        if (!(condition)) \
            abort();      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
