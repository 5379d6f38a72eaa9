/* edge/views: one list of what several workers tell. */
#include "unit.h"

#include "edge/views.h"

/* Two workers and one that has not answered; the second serves a site more. */
static const char statuses[] =
    "[{\"index\":0,\"sites\":[{\"name\":\"a\",\"mode\":\"sign\",\"expose\":\"none\",\"tickets\":"
    "\"edge\","
    "\"sessions\":\"host\",\"ticket_keys\":3,\"certificate\":true,\"not_after\":2000,"
    "\"connections\":5,"
    "\"active\":1,\"handshakes\":4,\"resumed\":2,\"origins\":[{\"name\":\"x:1\",\"up\":true,"
    "\"set_down\":true,\"connections\":1,\"kept\":2,\"attempts\":3,\"failures\":4},{\"name\":\"y:"
    "1\","
    "\"up\":true,\"set_down\":false,\"connections\":0,\"kept\":0,\"attempts\":1,\"failures\":0}]}],"
    "\"keyservers\":[{\"name\":\"k\",\"up\":true,\"outstanding\":1,\"requests\":30,\"failures\":0,"
    "\"timeouts\":0,\"bad_signatures\":0,\"connects\":1,\"hedges\":0,\"average_us\":100}]},"
    "{\"index\":1,\"sites\":[{\"name\":\"a\",\"mode\":\"sign\",\"expose\":\"none\",\"tickets\":"
    "\"edge\","
    "\"sessions\":\"host\",\"ticket_keys\":2,\"certificate\":false,\"not_after\":1000,"
    "\"connections\":7,"
    "\"active\":2,\"handshakes\":6,\"resumed\":1,\"origins\":[{\"name\":\"x:1\",\"up\":false,"
    "\"set_down\":true,\"connections\":10,\"kept\":20,\"attempts\":30,\"failures\":40},"
    "{\"name\":\"y:1\",\"up\":true,\"set_down\":false,\"connections\":1,\"kept\":1,\"attempts\":1,"
    "\"failures\":1}]},{\"name\":\"b\",\"mode\":\"local\",\"certificate\":true,\"connections\":1,"
    "\"active\":0,\"origins\":[{\"name\":\"x:1\",\"up\":true,\"connections\":9}]}],"
    "\"keyservers\":[{\"name\":\"k\",\"up\":true,\"outstanding\":2,\"requests\":10,\"failures\":1,"
    "\"timeouts\":1,\"bad_signatures\":0,\"connects\":1,\"hedges\":3,\"average_us\":500}]},"
    "{\"index\":2,\"pid\":5}]";

static void assert_view(enum fk_view view, const char *workers, const char *want)
{
    json_t *from = json_loads(workers, 0, NULL);
    json_t *json = fk_view_json(view, from);
    char *text = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);

    assert_non_null(from);
    assert_string_equal(text, want);
    free(text);
    json_decref(json);
    json_decref(from);
}

static void sites_are_added_up(void **state)
{
    (void)state;
    assert_view(
        FK_VIEW_SITES, statuses,
        "{\"sites\":[{\"name\":\"a\",\"mode\":\"sign\",\"expose\":\"none\",\"certificate\":false,"
        "\"not_after\":1000,\"connections\":12,\"active\":3},{\"name\":\"b\",\"mode\":\"local\","
        "\"certificate\":true,\"connections\":1,\"active\":0}],\"left_out\":1}");
}

static void origins_of_two_sites_are_two(void **state)
{
    (void)state;
    assert_view(FK_VIEW_ORIGINS, statuses,
                "{\"origins\":[{\"site\":\"a\",\"name\":\"x:1\",\"up\":false,\"set_down\":true,"
                "\"connections\":11,\"kept\":22,\"attempts\":33,\"failures\":44},{\"site\":\"a\","
                "\"name\":\"y:1\",\"up\":true,\"set_down\":false,\"connections\":1,\"kept\":1,"
                "\"attempts\":2,\"failures\":1},{\"site\":\"b\",\"name\":\"x:1\",\"up\":true,"
                "\"connections\":9}],\"left_out\":1}");
}

/* 30 requests of 100 us and 10 of 500 us. */
static void averages_are_of_all_requests(void **state)
{
    (void)state;
    assert_view(FK_VIEW_KEYSERVERS, statuses,
                "{\"keyservers\":[{\"name\":\"k\",\"up\":true,\"average_us\":200,\"outstanding\":3,"
                "\"requests\":40,\"failures\":1,\"timeouts\":1,\"bad_signatures\":0,\"connects\":2,"
                "\"hedges\":3}],\"left_out\":1}");
}

static void sessions_are_by_site(void **state)
{
    (void)state;
    assert_view(FK_VIEW_SESSIONS, statuses,
                "{\"sessions\":[{\"name\":\"a\",\"sessions\":\"host\",\"tickets\":\"edge\","
                "\"ticket_keys\":2,\"active\":3,\"handshakes\":10,\"resumed\":3},{\"name\":\"b\","
                "\"active\":0}],\"left_out\":1}");
}

static void without_workers_lists_are_empty(void **state)
{
    (void)state;
    assert_view(FK_VIEW_SITES, "[]", "{\"sites\":[]}");
    assert_view(FK_VIEW_ORIGINS, "[{\"sites\":[],\"keyservers\":[]}]", "{\"origins\":[]}");
    assert_view(FK_VIEW_KEYSERVERS, "[{\"sites\":[]}]", "{\"keyservers\":[],\"left_out\":1}");
}

static void a_server_that_was_asked_nothing_has_its_average(void **state)
{
    (void)state;
    assert_view(FK_VIEW_KEYSERVERS,
                "[{\"keyservers\":[{\"name\":\"k\",\"requests\":0,\"average_us\":0}]},"
                "{\"keyservers\":[{\"name\":\"k\",\"requests\":0,\"average_us\":0}]}]",
                "{\"keyservers\":[{\"name\":\"k\",\"average_us\":0,\"requests\":0}]}");
}

UNIT_MAIN(cmocka_unit_test(sites_are_added_up), cmocka_unit_test(origins_of_two_sites_are_two),
          cmocka_unit_test(averages_are_of_all_requests), cmocka_unit_test(sessions_are_by_site),
          cmocka_unit_test(without_workers_lists_are_empty),
          cmocka_unit_test(a_server_that_was_asked_nothing_has_its_average))
