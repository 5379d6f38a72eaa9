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
    struct fk_admin_command command;

    if (fk_admin_line_parse((const char *)data, size, &command) == FK_OK &&
        (!fk_admin_word_ok(command.word, strlen(command.word)) ||
         (command.argument[0] != '\0' &&
          !fk_admin_argument_ok(command.argument, strlen(command.argument)))))
        abort();
    return 0;
}
