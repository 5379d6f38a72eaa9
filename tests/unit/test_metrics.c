/* loop/metrics: slots add up, tables must agree, the text is Prometheus's. */
#include "unit.h"

#include "base/err.h"
#include "failmalloc.h"
#include "loop/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { M_OK, M_FAILED, M_OPEN, M_TIME, M_SIZE };

static const struct fk_metric table[] = {
    [M_OK] = {"t_requests_total", "result=\"ok\"", FK_METRIC_COUNTER, "Requests."},
    [M_FAILED] = {"t_requests_total", "result=\"failed\"", FK_METRIC_COUNTER, "Requests."},
    [M_OPEN] = {"t_open", NULL, FK_METRIC_GAUGE, "Open connections."},
    [M_TIME] = {"t_seconds", NULL, FK_METRIC_HISTOGRAM, "Time."},
    [M_SIZE] = {"t_wait_seconds", "of=\"key\"", FK_METRIC_HISTOGRAM, "Wait."},
    {NULL}};

static const struct fk_metric other[] = {{"t_open", NULL, FK_METRIC_GAUGE, "."}, {NULL}};

struct fixture {
    int fd;
    struct fk_metrics *metrics;
};

static int setup(void **state)
{
    static struct fixture fixture;

    assert_ok(fk_metrics_create(table, 3, &fixture.fd));
    assert_ok(fk_metrics_open(table, fixture.fd, &fixture.metrics));
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    fk_metrics_close(fixture->metrics);
    close(fixture->fd);
    return 0;
}

static void slots_add_up_across_processes(void **state)
{
    struct fixture *fixture = *state;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct fk_metrics *mine;

        if (fk_metrics_open(table, fixture->fd, &mine) != FK_OK)
            _exit(1);
        fk_metrics_own(mine, 2);
        fk_metric_add(mine, M_OK, 5);
        fk_metric_set(mine, M_OPEN, 7);
        fk_metric_observe(mine, M_TIME, 100);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    fk_metrics_own(fixture->metrics, 0);
    fk_metric_add(fixture->metrics, M_OK, 2);
    fk_metric_set(fixture->metrics, M_OPEN, 1);
    assert_int_equal(fk_metric_total(fixture->metrics, M_OK), 7);
    assert_int_equal(fk_metric_total(fixture->metrics, M_FAILED), 0);
    assert_int_equal(fk_metric_total(fixture->metrics, M_OPEN), 8);
    assert_int_equal(fk_metric_total(fixture->metrics, M_TIME), 1);

    fk_metrics_bury(fixture->metrics, 2);
    assert_int_equal(fk_metric_total(fixture->metrics, M_OPEN), 1);
    assert_int_equal(fk_metric_total(fixture->metrics, M_OK), 7);
    fk_metrics_bury(fixture->metrics, 3);
}

static void nothing_is_counted_without_a_slot(void **state)
{
    struct fixture *fixture = *state;

    fk_metric_add(fixture->metrics, M_OK, 1);
    fk_metrics_own(fixture->metrics, 3);
    fk_metric_add(fixture->metrics, M_OK, 1);
    assert_int_equal(fk_metric_total(fixture->metrics, M_OK), 0);
    fk_metrics_own(NULL, 0);
    fk_metric_add(NULL, M_OK, 1);
    fk_metric_set(NULL, M_OPEN, 1);
    fk_metric_observe(NULL, M_TIME, 1);
    fk_metrics_bury(NULL, 0);
    fk_metrics_close(NULL);
    assert_int_equal(fk_metric_total(NULL, M_OK), 0);
}

static void text_is_prometheus(void **state)
{
    struct fixture *fixture = *state;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    fk_metrics_own(fixture->metrics, 1);
    fk_metric_add(fixture->metrics, M_FAILED, 3);
    fk_metric_add(fixture->metrics, M_OPEN, (uint64_t)-2);
    fk_metric_observe(fixture->metrics, M_TIME, 0);
    fk_metric_observe(fixture->metrics, M_TIME, 1);
    fk_metric_observe(fixture->metrics, M_TIME, 2);
    fk_metric_observe(fixture->metrics, M_TIME, 3);
    fk_metric_observe(fixture->metrics, M_TIME, 67108864);
    fk_metric_observe(fixture->metrics, M_TIME, 67108865);
    fk_metric_observe(fixture->metrics, M_SIZE, 1500000);
    fk_metrics_print(fixture->metrics, out);
    fclose(out);
    assert_int_equal(strncmp(text, "# HELP t_requests_total Requests.\n", 34), 0);
    assert_non_null(strstr(text, "t_requests_total{result=\"ok\"} 0\n"
                                 "t_requests_total{result=\"failed\"} 3\n"
                                 "# HELP t_open Open connections.\n# TYPE t_open gauge\n"
                                 "t_open -2\n"));
    assert_non_null(strstr(text, "# TYPE t_seconds histogram\n"
                                 "t_seconds_bucket{le=\"0.000001\"} 2\n"
                                 "t_seconds_bucket{le=\"0.000002\"} 3\n"
                                 "t_seconds_bucket{le=\"0.000004\"} 4\n"));
    assert_non_null(strstr(text, "t_seconds_bucket{le=\"67.108864\"} 5\n"
                                 "t_seconds_bucket{le=\"+Inf\"} 6\n"
                                 "t_seconds_sum 134.217735\nt_seconds_count 6\n"));
    assert_non_null(strstr(text, "t_wait_seconds_bucket{of=\"key\",le=\"1.048576\"} 0\n"
                                 "t_wait_seconds_bucket{of=\"key\",le=\"2.097152\"} 1\n"));
    assert_non_null(strstr(text, "t_wait_seconds_sum{of=\"key\"} 1.500000\n"
                                 "t_wait_seconds_count{of=\"key\"} 1\n"));
    free(text);
}

static void another_table_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct fk_metrics *metrics;
    int plain;

    assert_err(fk_metrics_open(other, fixture->fd, &metrics), FK_ERR_FORMAT);
    /* Not sealed: could be cut under the reader. */
    plain = memfd_create("plain", MFD_CLOEXEC);
    assert_true(plain >= 0);
    assert_err(fk_metrics_open(table, plain, &metrics), FK_ERR_FORMAT);
    close(plain);
    assert_err(fk_metrics_open(table, -1, &metrics), FK_ERR_SYS);
}

static void memory_cannot_be_resized(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(ftruncate(fixture->fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fixture->fd, 1 << 20), -1);
    assert_int_equal(errno, EPERM);
}

static void number_of_slots_has_bounds(void **state)
{
    int fd = 77;

    (void)state;
    assert_err(fk_metrics_create(table, 0, &fd), FK_ERR_INVAL);
    assert_err(fk_metrics_create(table, SIZE_MAX, &fd), FK_ERR_INVAL);
    assert_int_equal(fd, 77);
}

static int map_and_unmap(void *context)
{
    const struct fixture *fixture = context;
    struct fk_metrics *metrics = NULL;
    int err = fk_metrics_open(table, fixture->fd, &metrics);

    assert_true((err == FK_OK) == (metrics != NULL));
    fk_metrics_close(metrics);
    return err;
}

static void every_failed_allocation_is_told(void **state)
{
    assert_int_equal(failmalloc_try(map_and_unmap, *state), 2); /* itself, and the mapping */
}

UNIT_MAIN(cmocka_unit_test_setup_teardown(every_failed_allocation_is_told, setup, teardown),
          cmocka_unit_test_setup_teardown(slots_add_up_across_processes, setup, teardown),
          cmocka_unit_test_setup_teardown(nothing_is_counted_without_a_slot, setup, teardown),
          cmocka_unit_test_setup_teardown(text_is_prometheus, setup, teardown),
          cmocka_unit_test_setup_teardown(another_table_is_refused, setup, teardown),
          cmocka_unit_test_setup_teardown(memory_cannot_be_resized, setup, teardown),
          cmocka_unit_test(number_of_slots_has_bounds))
