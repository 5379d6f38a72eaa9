/*
 * Lists that operators ask for: what the workers' statuses say of sites, origins and so on, each
 * told once, with the workers' counts added up.
 */
#ifndef FK_EDGE_VIEWS_H
#define FK_EDGE_VIEWS_H

#include <jansson.h>

enum fk_view { FK_VIEW_SITES, FK_VIEW_ORIGINS, FK_VIEW_KEYSERVERS, FK_VIEW_SESSIONS };

/*
 * {NAME: [row, ...]} of an array of workers' statuses, in the order of the first that has them. Of
 * workers that have not told theirs there is "left_out", how many. A new reference; NULL: no
 * memory.
 */
json_t *fk_view_json(enum fk_view view, const json_t *workers);

#endif
