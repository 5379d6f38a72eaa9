/* Request lines of the control socket: whatever comes, a word of the allowed letters or an error.
 */
#include "admin/line.h"
#include "base/err.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char word[FK_ADMIN_WORD_SIZE];

    if (fk_admin_line_parse((const char *)data, size, word) == FK_OK &&
        !fk_admin_word_ok(word, strlen(word)))
        abort();
    return 0;
}
