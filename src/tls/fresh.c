/* Server randoms that are made of seeds: see fresh.h. */
#include "tls/fresh.h"

#include "base/err.h"

#include <openssl/evp.h>
#include <string.h>

static const uint8_t mark[8] = {'D', 'O', 'W', 'N', 'G', 'R', 'D', 1};

#define UNMARKED (FK_FRESH_RANDOM_SIZE - sizeof mark)

int fk_fresh_random(const uint8_t seed[FK_FRESH_SEED_SIZE], uint8_t ret[FK_FRESH_RANDOM_SIZE])
{
    static const char label[] = "farkey server random";
    uint8_t in[sizeof label - 1 + FK_FRESH_SEED_SIZE];

    memcpy(in, label, sizeof label - 1);
    memcpy(in + sizeof label - 1, seed, FK_FRESH_SEED_SIZE);
    return EVP_Digest(in, sizeof in, ret, NULL, EVP_sha256(), NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}

void fk_fresh_mark(uint8_t random[FK_FRESH_RANDOM_SIZE])
{
    memcpy(random + UNMARKED, mark, sizeof mark);
}

/* All of it is public. */
int fk_fresh_check(const uint8_t seed[FK_FRESH_SEED_SIZE],
                   const uint8_t random[FK_FRESH_RANDOM_SIZE])
{
    uint8_t made[FK_FRESH_RANDOM_SIZE];
    int err;

    if ((err = fk_fresh_random(seed, made)) != FK_OK)
        return err;
    return memcmp(random, made, UNMARKED) == 0 &&
                   (memcmp(random + UNMARKED, made + UNMARKED, sizeof mark) == 0 ||
                    memcmp(random + UNMARKED, mark, sizeof mark) == 0)
               ? FK_OK
               : FK_ERR_REPLAY;
}
