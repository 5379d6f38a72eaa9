/* The two faces of an error code: its name and its text. See err.h for the list. */
#include "base/err.h"

#include <stddef.h>

struct err_row {
    int code;
    const char *name;
    const char *text;
};

static const struct err_row rows[] = {{FK_OK, "OK", "success"},
#define FK_ERR_ROW(name, number, text) {FK_ERR_##name, #name, text},
                                      FK_ERR_LIST(FK_ERR_ROW)
#undef FK_ERR_ROW
};

static const struct err_row *find_row(int err)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == err)
            return &rows[i];
    return NULL;
}

const char *fk_err_name(int err)
{
    const struct err_row *row = find_row(err);

    return row != NULL ? row->name : "UNKNOWN";
}

const char *fk_err_text(int err)
{
    const struct err_row *row = find_row(err);

    return row != NULL ? row->text : "unknown error";
}
