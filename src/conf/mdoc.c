/* See mdoc.h. */
#include "conf/mdoc.h"

#include <stdbool.h>

/*
 * Running text: each sentence on a line of its own, as mdoc(7) asks; a backslash, and a dot or an
 * apostrophe that begins a line, would be a command.
 */
void fk_mdoc_text(const char *text, FILE *out)
{
    bool start = true;

    for (; *text != '\0'; text++) {
        if (start && *text == ' ')
            continue;
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
        start = *text == '\n' || (text[0] == '.' && text[1] == ' ' && text[2] != '\0');
        if (start && *text != '\n')
            fputc('\n', out);
    }
    fputc('\n', out);
}

/* An argument of a macro, in quotes. */
void fk_mdoc_argument(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputs("\\(dq", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}
