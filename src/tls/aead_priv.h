/* The libraries behind aead.h: for aead*.c only. */
#ifndef FK_TLS_AEAD_PRIV_H
#define FK_TLS_AEAD_PRIV_H

#include "tls/aead.h"

extern const struct fk_aead_library fk_aead_evp, fk_aead_ipsec_mb_gcm, fk_aead_ipsec_mb_chacha;

#endif
