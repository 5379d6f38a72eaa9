/* The table of a flow's life: every cell, against the page in docs/. */
#include "unit.h"

#include "inline/flow_state.h"

#include <stdbool.h>
#include <stdio.h>

/* The graph as docs/inline-states.md has it. */
static void print_graph(char *dst, size_t size)
{
    size_t len = 0;

    for (unsigned s = 0; s < FK_FLOW_STATE_COUNT; s++)
        for (unsigned f = 0; f < FK_FLOW_FACT_COUNT; f++) {
            enum fk_flow_state next =
                fk_flow_state_next((enum fk_flow_state)s, (enum fk_flow_fact)f);
            char arrow[64];

            if (next == FK_FLOW_STATE_COUNT)
                continue;
            snprintf(arrow, sizeof arrow, "--%s-->", fk_flow_fact_name((enum fk_flow_fact)f));
            len += (size_t)snprintf(dst + len, size - len, "%-10s %-17s %s\n",
                                    fk_flow_state_name((enum fk_flow_state)s), arrow,
                                    fk_flow_state_name(next));
            assert_true(len < size);
        }
}

static void page_is_the_table(void **state)
{
    char path[4096], text[16384] = "", graph[8192] = "", *start, *end;
    FILE *file;

    (void)state;
    print_graph(graph, sizeof graph);
    snprintf(path, sizeof path, "%s/../../docs/inline-states.md", getenv("FK_VECTORS"));
    file = fopen(path, "r");
    assert_non_null(file);
    assert_true(fread(text, 1, sizeof text - 1, file) > 0);
    fclose(file);
    start = strstr(text, "```\n");
    assert_non_null(start);
    end = strstr(start + 4, "```");
    assert_non_null(end);
    *end = '\0';
    assert_string_equal(graph, start + 4);
}

/* Each state ends by time, but for the last, which nothing leaves. */
static void only_the_last_state_stays(void **state)
{
    (void)state;
    for (unsigned s = 0; s < FK_FLOW_STATE_COUNT; s++) {
        enum fk_flow_state from = (enum fk_flow_state)s, next;
        bool last = from == FK_FLOW_GONE;

        next = fk_flow_state_next(from, FK_FLOW_FACT_TIMEOUT);
        assert_int_equal(next == FK_FLOW_STATE_COUNT, last);
        assert_int_equal(fk_flow_state_limit(from) == 0, last);
        for (unsigned f = 0; f < FK_FLOW_FACT_COUNT; f++) {
            next = fk_flow_state_next(from, (enum fk_flow_fact)f);
            assert_int_not_equal(next, from);
            assert_true(!last || next == FK_FLOW_STATE_COUNT);
        }
    }
}

UNIT_MAIN(cmocka_unit_test(page_is_the_table), cmocka_unit_test(only_the_last_state_stays))
