/*
 * Intrusive doubly linked lists: a ring with a head. Embed a struct fk_list in the element.
 * An element that is on no list points to itself, so fk_list_del() is harmless twice.
 */
#ifndef FK_BASE_LIST_H
#define FK_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct fk_list {
    struct fk_list *next;
    struct fk_list *prev;
};

static inline void fk_list_init(struct fk_list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool fk_list_empty(const struct fk_list *list)
{
    return list->next == list;
}

/* Insert `item` before `head`: at the tail of the list. */
static inline void fk_list_append(struct fk_list *head, struct fk_list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

static inline void fk_list_prepend(struct fk_list *head, struct fk_list *item)
{
    fk_list_append(head->next, item);
}

static inline void fk_list_del(struct fk_list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    fk_list_init(item);
}

/* Take the first element off the list; NULL when it is empty. */
static inline struct fk_list *fk_list_pop(struct fk_list *head)
{
    struct fk_list *item = head->next;

    if (item == head)
        return NULL;
    head->next = item->next;
    item->next->prev = head;
    fk_list_init(item);
    return item;
}

/* The structure of type `type` whose member `member` is *ptr. */
#define fk_container(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Walk a list; the _safe form allows deleting `item` on the way. */
#define fk_list_each(item, head) \
    for ((item) = (head)->next; (item) != (head); (item) = (item)->next)
#define fk_list_each_safe(item, temp, head)                              \
    for ((item) = (head)->next, (temp) = (item)->next; (item) != (head); \
         (item) = (temp), (temp) = (item)->next)

#endif
