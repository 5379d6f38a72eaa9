/*
 * Configuration text to tokens: see lexer.h.
 *
 * The text is the operator's own, yet read through a cursor like a peer's: it may be any file that
 * somebody named by mistake.
 */
#include "conf/lexer.h"

#include "base/err.h"
#include "base/limits.h"

#include <string.h>

void fk_lexer_init(struct fk_lexer *lexer, const void *text, size_t len)
{
    fk_reader_init(&lexer->reader, text, len);
    lexer->line = 1;
}

/* The next byte without consuming it; -1 at the end. */
static int peek(const struct fk_lexer *lexer)
{
    return lexer->reader.left > 0 ? lexer->reader.next[0] : -1;
}

static void advance(struct fk_lexer *lexer)
{
    if (peek(lexer) == '\n')
        lexer->line++;
    (void)fk_reader_skip(&lexer->reader, 1);
}

static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c > 0 && strchr("-_./:*+%", c) != NULL);
}

static bool is_space(int c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blank(struct fk_lexer *lexer)
{
    while (is_space(peek(lexer)) || peek(lexer) == '#') {
        if (peek(lexer) != '#') {
            advance(lexer);
            continue;
        }
        while (peek(lexer) >= 0 && peek(lexer) != '\n')
            advance(lexer);
    }
}

/* The first fault of a token is the one that is told. */
static void blame(struct fk_token *token, enum fk_token_fault fault, int culprit)
{
    if (token->fault != FK_FAULT_NONE)
        return;
    token->fault = fault;
    token->culprit = (unsigned char)culprit;
}

static void check_string_byte(struct fk_token *token, int c, bool escaped)
{
    if (escaped && (c == 0 || strchr("\"\\nt", c) == NULL))
        blame(token, FK_FAULT_ESCAPE, c);
    else if (c == 0)
        blame(token, FK_FAULT_NUL, c);
    else if ((c < 0x20 && c != '\t') || c == 0x7f)
        blame(token, FK_FAULT_CONTROL, c);
}

/* A string ends at its quote or, faulty, at the end of its line: the next line is read afresh. */
static void scan_string(struct fk_lexer *lexer, struct fk_token *token)
{
    int quote = peek(lexer);
    bool escaped = false;
    int c;

    advance(lexer);
    token->type = FK_TOKEN_STRING;
    token->text = (const char *)lexer->reader.next;
    while ((c = peek(lexer)) >= 0 && c != '\n' && (escaped || c != quote)) {
        check_string_byte(token, c, escaped);
        escaped = !escaped && c == '\\';
        advance(lexer);
    }
    token->len = (size_t)((const char *)lexer->reader.next - token->text);
    if (c != quote) {
        token->fault = FK_FAULT_UNCLOSED;
        return;
    }
    advance(lexer);
    if (quote == '\'')
        blame(token, FK_FAULT_SINGLE, quote);
    if (token->len > FK_CONF_TOKEN_MAX)
        blame(token, FK_FAULT_LONG, 0);
}

static void scan_word(struct fk_lexer *lexer, struct fk_token *token)
{
    token->type = FK_TOKEN_WORD;
    while (is_word(peek(lexer)))
        advance(lexer);
    token->len = (size_t)((const char *)lexer->reader.next - token->text);
    if (token->len > FK_CONF_TOKEN_MAX)
        blame(token, FK_FAULT_LONG, 0);
}

static bool is_bad(int c)
{
    return c >= 0 && !is_word(c) && !is_space(c) && (c == 0 || strchr("#\"'{}=,", c) == NULL);
}

/* A run of bytes that mean nothing is one token: a binary file gives few errors. */
static void scan_bad(struct fk_lexer *lexer, struct fk_token *token)
{
    int c = peek(lexer);

    token->type = FK_TOKEN_BAD;
    if (c == 0)
        blame(token, FK_FAULT_NUL, c);
    else if (c == ';')
        blame(token, FK_FAULT_SEMICOLON, c);
    else if (c < 0x20 || c >= 0x7f)
        blame(token, FK_FAULT_CONTROL, c);
    else
        blame(token, FK_FAULT_CHAR, c);
    while (is_bad(peek(lexer)))
        advance(lexer);
    token->len = (size_t)((const char *)lexer->reader.next - token->text);
}

void fk_lexer_scan(struct fk_lexer *lexer, struct fk_token *ret)
{
    static const struct {
        int c;
        enum fk_token_type type;
    } signs[] = {{-1, FK_TOKEN_END},
                 {'{', FK_TOKEN_OPEN},
                 {'}', FK_TOKEN_CLOSE},
                 {'=', FK_TOKEN_EQUALS},
                 {',', FK_TOKEN_COMMA}};
    struct fk_token token = {.fault = FK_FAULT_NONE};
    int c;

    skip_blank(lexer);
    c = peek(lexer);
    token.line = lexer->line;
    token.text = (const char *)lexer->reader.next;
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
        if (signs[i].c != c)
            continue;
        token.type = signs[i].type;
        token.len = c < 0 ? 0 : 1;
        advance(lexer);
        *ret = token;
        return;
    }
    if (c == '"' || c == '\'')
        scan_string(lexer, &token);
    else if (is_word(c))
        scan_word(lexer, &token);
    else
        scan_bad(lexer, &token);
    *ret = token;
}

void fk_token_explain(const struct fk_token *token, struct fk_conf_text *ret)
{
    char quoted[FK_CONF_QUOTE_SIZE];

    ret->len = 0;
    switch (token->fault) {
    case FK_FAULT_NONE:
        fk_conf_put(ret, "nothing is wrong");
        break;
    case FK_FAULT_CHAR:
        fk_conf_put(ret, "unexpected character '%c'; put a value that needs it in double quotes",
                    token->culprit);
        break;
    case FK_FAULT_SEMICOLON:
        fk_conf_put(ret, "unexpected ';'; remove it, a new line or a space is enough");
        break;
    case FK_FAULT_CONTROL:
        fk_conf_put(ret,
                    token->culprit < 0x80
                        ? "byte 0x%02x is no text; remove it"
                        : "byte 0x%02x outside of quotes; put what is not ASCII in double quotes",
                    token->culprit);
        break;
    case FK_FAULT_NUL:
        fk_conf_put(ret, "NUL byte; write plain text");
        break;
    case FK_FAULT_UNCLOSED:
        fk_conf_put(ret, "string is not closed on its line; end it with %s",
                    token->text[-1] == '\'' ? "\" and begin it so"
                                            : "\", or write \\n for a line break");
        break;
    case FK_FAULT_ESCAPE:
        fk_conf_put(ret, "unknown escape %s; write \\\" \\\\ \\n or \\t",
                    fk_conf_quote((const char[]){'\\', (char)token->culprit}, 2, quoted));
        break;
    case FK_FAULT_SINGLE:
        fk_conf_put(ret, "string in single quotes; write it in double quotes");
        break;
    case FK_FAULT_LONG:
        fk_conf_put(ret, "value of %zu bytes is too long; write at most %d", token->len,
                    FK_CONF_TOKEN_MAX);
        break;
    }
}

char *fk_token_value(struct fk_conf *conf, const struct fk_token *token)
{
    char *value = fk_conf_copy(conf, token->text, token->len);
    size_t len = 0;

    if (value == NULL || token->type != FK_TOKEN_STRING)
        return value;
    for (size_t i = 0; i < token->len; i++) {
        char c = token->text[i];

        if (c == '\\' && i + 1 < token->len) {
            c = token->text[++i];
            if (c == 'n')
                c = '\n';
            else if (c == 't')
                c = '\t';
        }
        value[len++] = c;
    }
    value[len] = '\0';
    return value;
}
