/* The manager of Intel's Multi-Buffer Crypto for IPsec Library: see aead_ipsec_mb.h. */
#include "tls/aead_ipsec_mb.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

static IMB_MGR *manager;
static pthread_once_t looked = PTHREAD_ONCE_INIT;

static bool is_sound(const IMB_MGR *mgr)
{
    return (mgr->features & IMB_FEATURE_SELF_TEST) == 0 ||
           (mgr->features & IMB_FEATURE_SELF_TEST_PASS) != 0;
}

static void look(void)
{
    IMB_MGR *mgr = alloc_mb_mgr(0);

    if (mgr == NULL)
        return;
    init_mb_mgr_auto(mgr, NULL);
    if (is_sound(mgr))
        manager = mgr;
    else
        free_mb_mgr(mgr);
}

const IMB_MGR *fk_ipsec_mb(uint64_t features)
{
    (void)pthread_once(&looked, look);
    return manager != NULL && (manager->features & features) == features ? manager : NULL;
}
