/* loop/notify: what the service manager is told, to the byte. The test is the manager. */
#include "unit.h"

#include "base/err.h"
#include "loop/notify.h"
#include "loop/sock.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* An abstract socket, so that nothing is left behind. */
static int setup(void **state)
{
    static int fd;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char name[64];
    int len = snprintf(name, sizeof name, "@fk-notify-%ld", (long)getpid());

    memcpy(un.sun_path + 1, name + 1, (size_t)len - 1);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&un,
                       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)) != 0)
        return -1;
    setenv("NOTIFY_SOCKET", name, 1);
    *state = &fd;
    return 0;
}

static int teardown(void **state)
{
    fk_close(*state);
    unsetenv("NOTIFY_SOCKET");
    return 0;
}

static const char *next_message(void **state)
{
    static char text[512];
    ssize_t n = recv(*(int *)*state, text, sizeof text - 1, 0);

    assert_true(n >= 0);
    text[n] = '\0';
    return text;
}

static void states_are_told(void **state)
{
    char expected[64];

    snprintf(expected, sizeof expected, "READY=1\nMAINPID=%ld", (long)getpid());
    assert_ok(fk_notify_ready());
    assert_string_equal(next_message(state), expected);
    assert_ok(fk_notify_reloading());
    assert_memory_equal(next_message(state), "RELOADING=1\nMONOTONIC_USEC=", 27);
    assert_ok(fk_notify_stopping());
    assert_string_equal(next_message(state), "STOPPING=1");
    assert_ok(fk_notify_watchdog());
    assert_string_equal(next_message(state), "WATCHDOG=1");
    assert_ok(fk_notify_status("two workers\nREADY=1"));
    assert_string_equal(next_message(state), "STATUS=two workers");
}

static void without_a_manager_nothing_happens(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_ok(fk_notify_ready());
    setenv("NOTIFY_SOCKET", "relative", 1);
    assert_err(fk_notify_ready(), FK_ERR_INVAL);
    setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
    assert_err(fk_notify_ready(), FK_ERR_SYS);
    unsetenv("NOTIFY_SOCKET");
}

static void watchdog_period_is_halved_and_ours_only(void **state)
{
    char pid[32];

    (void)state;
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    assert_int_equal(fk_notify_watchdog_us(), 0);
    setenv("WATCHDOG_USEC", "30000000", 1);
    assert_int_equal(fk_notify_watchdog_us(), 15000000);
    setenv("WATCHDOG_PID", "1", 1);
    assert_int_equal(fk_notify_watchdog_us(), 0);
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("WATCHDOG_PID", pid, 1);
    assert_int_equal(fk_notify_watchdog_us(), 15000000);
    setenv("WATCHDOG_USEC", "often", 1);
    assert_int_equal(fk_notify_watchdog_us(), 0);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

UNIT_MAIN(cmocka_unit_test_setup_teardown(states_are_told, setup, teardown),
          cmocka_unit_test(without_a_manager_nothing_happens),
          cmocka_unit_test(watchdog_period_is_halved_and_ours_only))
