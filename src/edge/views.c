/* Merging rows of workers: see views.h. */
#include "edge/views.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What becomes of a member that several workers tell. */
enum how {
    KEEP, /* it is the configuration's: they tell the same */
    SUM,
    EVERY, /* true when all say so */
    LEAST,
    MEAN, /* weighted by "requests", which comes later in the table */
};

struct member {
    const char *name; /* NULL: the end */
    enum how how;
};

static const struct member site_members[] = {
    {"name", KEEP},       {"mode", KEEP},       {"expose", KEEP}, {"certificate", EVERY},
    {"not_after", LEAST}, {"connections", SUM}, {"active", SUM},  {NULL, KEEP},
};
static const struct member origin_members[] = {
    {"site", KEEP}, {"name", KEEP},    {"up", EVERY},     {"set_down", KEEP}, {"connections", SUM},
    {"kept", SUM},  {"attempts", SUM}, {"failures", SUM}, {NULL, KEEP},
};
static const struct member keyserver_members[] = {
    {"name", KEEP},    {"up", EVERY},     {"average_us", MEAN}, {"outstanding", SUM},
    {"requests", SUM}, {"failures", SUM}, {"timeouts", SUM},    {"bad_signatures", SUM},
    {"connects", SUM}, {"hedges", SUM},   {NULL, KEEP},
};
static const struct member session_members[] = {
    {"name", KEEP},  {"sessions", KEEP},  {"tickets", KEEP}, {"ticket_keys", LEAST},
    {"active", SUM}, {"handshakes", SUM}, {"resumed", SUM},  {NULL, KEEP},
};

static const struct {
    const char *name;   /* of the list */
    const char *source; /* in a worker's status */
    const struct member *members;
} views[] = {
    [FK_VIEW_SITES] = {"sites", "sites", site_members},
    [FK_VIEW_ORIGINS] = {"origins", "sites", origin_members},
    [FK_VIEW_KEYSERVERS] = {"keyservers", "keyservers", keyserver_members},
    [FK_VIEW_SESSIONS] = {"sessions", "sites", session_members},
};

static json_int_t number(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}

/* Of all requests, those of `row` and those of `part`. */
static json_int_t mean(const json_t *row, const json_t *part, const char *name)
{
    double a = (double)number(row, "requests"), b = (double)number(part, "requests");

    if (a + b == 0)
        return number(row, name);
    return (json_int_t)(((double)number(row, name) * a + (double)number(part, name) * b) / (a + b));
}

static json_t *merged(const struct member *member, const json_t *row, const json_t *part)
{
    json_int_t a = number(row, member->name), b = number(part, member->name);

    switch (member->how) {
    case SUM:
        return json_integer(a + b);
    case LEAST:
        return json_integer(b < a ? b : a);
    case MEAN:
        return json_integer(mean(row, part, member->name));
    case EVERY:
        return json_boolean(json_is_true(json_object_get(row, member->name)) &&
                            json_is_true(json_object_get(part, member->name)));
    case KEEP:
        break;
    }
    return json_incref(json_object_get(row, member->name));
}

static void merge(json_t *row, const json_t *part, const struct member *members)
{
    for (const struct member *member = members; member->name != NULL; member++) {
        json_t *value = json_object_get(part, member->name);

        if (value == NULL)
            continue; /* some have it only now and then */
        if (json_object_get(row, member->name) == NULL)
            json_object_set(row, member->name, value);
        else
            json_object_set_new(row, member->name, merged(member, row, part));
    }
}

/* Made if there is none yet. */
static json_t *row_of(json_t *rows, const char *key)
{
    json_t *row = json_object_get(rows, key);

    if (row == NULL) {
        row = json_object();
        json_object_set_new(rows, key, row);
    }
    return row;
}

/* A site's origins, each with the site's name. */
static void add_origins(json_t *rows, const json_t *site)
{
    json_t *origin, *name = json_object_get(site, "name"), *row;
    char key[2048];
    size_t i;

    json_array_foreach(json_object_get(site, "origins"), i, origin)
    {
        int n = snprintf(key, sizeof key, "%s/%s", json_string_value(name),
                         json_string_value(json_object_get(origin, "name")));

        if (n < 0 || (size_t)n >= sizeof key)
            continue;
        row = row_of(rows, key);
        json_object_set(row, "site", name);
        merge(row, origin, origin_members);
    }
}

static void add_worker(json_t *rows, enum fk_view view, const json_t *parts)
{
    json_t *part;
    size_t i;

    json_array_foreach(parts, i, part)
    {
        const char *name = json_string_value(json_object_get(part, "name"));

        if (view == FK_VIEW_ORIGINS)
            add_origins(rows, part);
        else if (name != NULL)
            merge(row_of(rows, name), part, views[view].members);
    }
}

/* Rows found each other by name; operators get a list. */
static json_t *flatten(const json_t *rows)
{
    json_t *list = json_array(), *row;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t)rows, key, row)
    {
        json_array_append(list, row);
    }
    return list;
}

json_t *fk_view_json(enum fk_view view, const json_t *workers)
{
    json_t *rows = json_object(), *json = json_object(), *worker, *parts;
    json_int_t left_out = 0;
    size_t i;

    json_array_foreach(workers, i, worker)
    {
        parts = json_object_get(worker, views[view].source);
        if (parts == NULL)
            left_out++;
        add_worker(rows, view, parts);
    }
    json_object_set_new(json, views[view].name, flatten(rows));
    if (left_out > 0)
        json_object_set_new(json, "left_out", json_integer(left_out));
    json_decref(rows);
    return json;
}
