/* Configuration text to tokens. Private to src/conf. Never copies: tokens borrow the text. */
#ifndef FK_CONF_LEXER_H
#define FK_CONF_LEXER_H

#include "conf/store.h"

#include "base/reader.h"

enum fk_token_type {
    FK_TOKEN_END,
    FK_TOKEN_WORD,
    FK_TOKEN_STRING, /* text without its quotes, escapes still in it */
    FK_TOKEN_OPEN,
    FK_TOKEN_CLOSE,
    FK_TOKEN_EQUALS,
    FK_TOKEN_COMMA,
    FK_TOKEN_BAD, /* nothing of the language; only in fk_lexer_scan() */
};

/* What is wrong with a token's text. */
enum fk_token_fault {
    FK_FAULT_NONE,
    FK_FAULT_CHAR,
    FK_FAULT_SEMICOLON,
    FK_FAULT_CONTROL,
    FK_FAULT_NUL,
    FK_FAULT_UNCLOSED,
    FK_FAULT_ESCAPE,
    FK_FAULT_SINGLE,
    FK_FAULT_LONG,
};

struct fk_token {
    enum fk_token_type type;
    enum fk_token_fault fault;
    unsigned char culprit; /* the byte that the fault is about */
    unsigned line;
    const char *text;
    size_t len;
};

/* A copy of the struct is a look ahead. */
struct fk_lexer {
    struct fk_reader reader;
    unsigned line;
};

void fk_lexer_init(struct fk_lexer *lexer, const void *text, size_t len);

/* The next token, faulty ones included. FK_TOKEN_END for ever at the end. */
void fk_lexer_scan(struct fk_lexer *lexer, struct fk_token *ret);

/* "What is wrong; what to write instead" for a token with a fault. */
void fk_token_explain(const struct fk_token *token, struct fk_conf_text *ret);

/* A string token's value, escapes resolved; a word's text. NULL sets conf->nomem. */
char *fk_token_value(struct fk_conf *conf, const struct fk_token *token);

#endif
