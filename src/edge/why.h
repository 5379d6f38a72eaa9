/* The reason of a failure in words, for the log line of whoever asked. */
#ifndef FK_EDGE_WHY_H
#define FK_EDGE_WHY_H

struct fk_why {
    char text[512]; /* empty: the error's own text says it */
};

/* Note a reason; returns `err`. */
__attribute__((format(printf, 3, 4))) int fk_why_set(struct fk_why *why, int err,
                                                     const char *format, ...);

#endif
