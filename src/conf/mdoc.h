/* Text of tables as mdoc(7) source, for the manual pages that are made from them. */
#ifndef FK_CONF_MDOC_H
#define FK_CONF_MDOC_H

#include <stdio.h>

/* Running text, each sentence on a line of its own, and a newline behind it. */
void fk_mdoc_text(const char *text, FILE *out);

/* One argument of a macro, in quotes. */
void fk_mdoc_argument(const char *text, FILE *out);

#endif
