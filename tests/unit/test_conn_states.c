/* The table of a connection's life: every cell, against the page in docs/. */
#include "unit.h"

#include "edge/conn_state.h"

#include <stdbool.h>
#include <stdio.h>

/* The graph as docs/edge-states.md has it. */
static size_t print_graph(char *dst, size_t size)
{
    size_t len = 0;

    dst[0] = '\0';
    for (unsigned s = 0; s < FK_CONN_STATE_COUNT; s++)
        for (unsigned f = FK_FACT_NONE + 1; f < FK_FACT_COUNT; f++) {
            enum fk_conn_state next = fk_conn_next((enum fk_conn_state)s, (enum fk_conn_fact)f);
            char arrow[64];

            if (next == FK_CONN_STATE_COUNT)
                continue;
            snprintf(arrow, sizeof arrow, "--%s-->", fk_conn_fact_name((enum fk_conn_fact)f));
            len += (size_t)snprintf(dst + len, size - len, "%-10s %-25s%s%s\n",
                                    fk_conn_state_name((enum fk_conn_state)s), arrow, " ",
                                    fk_conn_state_name(next));
            assert_true(len < size);
        }
    return len;
}

/* The block of the page between its fences. */
static char *read_page(void)
{
    char path[4096], *text = calloc(1, 65536), *start, *end;
    FILE *file;

    assert_non_null(text);
    snprintf(path, sizeof path, "%s/../../docs/edge-states.md", getenv("FK_VECTORS"));
    file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, 65535, file) > 0);
    fclose(file);
    start = strstr(text, "```\n");
    assert_non_null(start);
    start += 4;
    end = strstr(start, "```");
    assert_non_null(end);
    *end = '\0';
    memmove(text, start, strlen(start) + 1);
    return text;
}

static void page_is_the_table(void **state)
{
    char graph[8192], *page = read_page();

    (void)state;
    assert_true(print_graph(graph, sizeof graph) > 0);
    assert_string_equal(graph, page);
    free(page);
}

static void nothing_new_leads_nowhere(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FK_CONN_STATE_COUNT; s++)
        assert_int_equal(fk_conn_next((enum fk_conn_state)s, FK_FACT_NONE), FK_CONN_STATE_COUNT);
}

static void dead_is_the_end(void **state)
{
    (void)state;
    for (unsigned f = 0; f < FK_FACT_COUNT; f++)
        assert_int_equal(fk_conn_next(FK_CONN_DEAD, (enum fk_conn_fact)f), FK_CONN_STATE_COUNT);
    assert_int_equal(fk_conn_limit_of(FK_CONN_DEAD), FK_LIMIT_NONE);
}

/* Nobody stays for ever: each state has a time limit, and its end leads away from it. */
static void every_state_ends(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FK_CONN_DEAD; s++) {
        enum fk_conn_state late = fk_conn_next((enum fk_conn_state)s, FK_FACT_TIMEOUT);
        enum fk_conn_state lost = fk_conn_next((enum fk_conn_state)s, FK_FACT_LOST);

        assert_int_not_equal(fk_conn_limit_of((enum fk_conn_state)s), FK_LIMIT_NONE);
        assert_true(late == FK_CONN_DEAD || late == FK_CONN_CLOSING);
        assert_int_equal(lost, FK_CONN_DEAD);
    }
}

/* States only follow each other downwards: no way back. */
static void no_way_back(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FK_CONN_STATE_COUNT; s++)
        for (unsigned f = 0; f < FK_FACT_COUNT; f++)
            if ((s != FK_CONN_KEY && s != FK_CONN_PASS_KEY) || f != FK_FACT_KEY_ANSWERED)
                assert_true(fk_conn_next((enum fk_conn_state)s, (enum fk_conn_fact)f) > s);
}

static void every_state_is_reached(void **state)
{
    bool reached[FK_CONN_STATE_COUNT + 1] = {[FK_CONN_PROXY] = true};

    (void)state;
    for (unsigned s = 0; s < FK_CONN_STATE_COUNT; s++)
        for (unsigned f = 0; reached[s] && f < FK_FACT_COUNT; f++)
            reached[fk_conn_next((enum fk_conn_state)s, (enum fk_conn_fact)f)] = true;
    for (unsigned s = 0; s < FK_CONN_STATE_COUNT; s++)
        assert_true(reached[s]);
}

/* Bytes are relayed only after a handshake that was completed, but for clients whose listener has
 * no TLS: once a ClientHello is waited for there is no way around it. */
static void relay_needs_a_handshake(void **state)
{
    enum fk_conn_state next;

    (void)state;
    for (unsigned s = 0; s < FK_CONN_STATE_COUNT; s++)
        for (unsigned f = 0; f < FK_FACT_COUNT; f++) {
            next = fk_conn_next((enum fk_conn_state)s, (enum fk_conn_fact)f);
            if (next == FK_CONN_RELAY) {
                assert_true(s == FK_CONN_HANDSHAKE || s == FK_CONN_PASS || s == FK_CONN_PLAIN);
                assert_int_equal(f, s == FK_CONN_PLAIN ? FK_FACT_SITE_GIVEN : FK_FACT_SECURED);
            }
            assert_true(next != FK_CONN_PLAIN || s == FK_CONN_PROXY);
        }
}

static void names_of_strangers(void **state)
{
    (void)state;
    assert_string_equal(fk_conn_state_name(FK_CONN_STATE_COUNT), "none");
    assert_string_equal(fk_conn_fact_name(FK_FACT_COUNT), "none");
    assert_string_equal(fk_conn_fact_name(FK_FACT_NONE), "nothing");
}

UNIT_MAIN(cmocka_unit_test(page_is_the_table), cmocka_unit_test(nothing_new_leads_nowhere),
          cmocka_unit_test(dead_is_the_end), cmocka_unit_test(every_state_ends),
          cmocka_unit_test(no_way_back), cmocka_unit_test(every_state_is_reached),
          cmocka_unit_test(relay_needs_a_handshake), cmocka_unit_test(names_of_strangers))
