/* inline/nfqueue: what is said to be the packet lies in the message; what failed says nothing. */
#include "check.h"

#include "base/err.h"
#include "inline/nfqueue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_nfqueue_packet packet = {.id = 99};
    int err = fk_nfqueue_parse(data, size, &packet);

    if (err == FK_OK)
        CHECK(packet.bytes >= data && packet.bytes + packet.len <= data + size);
    else if (err != FK_ERR_RANGE)
        CHECK(packet.id == 99 && packet.bytes == NULL);
    return 0;
}
