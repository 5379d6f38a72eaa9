/* A sealed bundle of any bytes: refused, or all of it can be read. */
#include "base/err.h"
#include "conf/bundle.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int seal(const uint8_t *data, size_t size)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        abort();
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fk_bundle *bundle;
    const uint8_t *bytes, *same;
    size_t len, same_len;
    const char *path;
    int fd = seal(data, size);

    if (fk_bundle_open(fd, &bundle) == FK_OK) {
        for (size_t i = 0; fk_bundle_at(bundle, i, &path, &bytes, &len) == FK_OK; i++)
            if (fk_bundle_read(bundle, path, &same, &same_len) != FK_OK || same != bytes ||
                same_len != len || bytes[len] != 0)
                abort();
        fk_bundle_free(bundle);
    }
    close(fd);
    return 0;
}
