/* Server randoms that are made of seeds: see fresh.h. */
#include "tls/fresh.h"

#include "base/err.h"

#include <openssl/evp.h>
#include <string.h>

int fk_fresh_random(const uint8_t seed[FK_FRESH_SEED_SIZE], uint8_t ret[FK_FRESH_RANDOM_SIZE])
{
    static const char label[] = "farkey server random";
    uint8_t in[sizeof label - 1 + FK_FRESH_SEED_SIZE];

    memcpy(in, label, sizeof label - 1);
    memcpy(in + sizeof label - 1, seed, FK_FRESH_SEED_SIZE);
    return EVP_Digest(in, sizeof in, ret, NULL, EVP_sha256(), NULL) == 1 ? FK_OK : FK_ERR_CRYPTO;
}
