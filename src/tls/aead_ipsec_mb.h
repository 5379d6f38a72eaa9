/* The manager of Intel's Multi-Buffer Crypto for IPsec Library: for aead_ipsec_mb*.c only. */
#ifndef FK_TLS_AEAD_IPSEC_MB_H
#define FK_TLS_AEAD_IPSEC_MB_H

#include <intel-ipsec-mb.h>
#include <stdint.h>

/*
 * The table of functions for this processor, made once a process and kept; NULL when the library
 * failed its self-test or the processor lacks one of `features` (IMB_FEATURE_*).
 */
const IMB_MGR *fk_ipsec_mb(uint64_t features);

#endif
