/* loop/errand: what a process of its own says is heard, whole and in order; how it ended is told.
 */
#include "unit.h"

#include "base/err.h"
#include "loop/errand.h"
#include "loop/sock.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define MANY 5000

struct errand {
    int result;    /* of the work */
    unsigned says; /* messages */
    bool dies;
    /* heard */
    unsigned heard;
    int fd;
    pid_t pid;
};

static int work(void *arg, int sock)
{
    struct errand *errand = arg;
    struct fk_procmsg msg = {.type = 7};
    int fds[2] = {-1, -1};

    for (unsigned i = 0; i < errand->says; i++) {
        msg.arg = i;
        msg.len = sizeof(pid_t);
        memcpy(msg.data, &(pid_t){getpid()}, sizeof(pid_t));
        if (fk_errand_say(sock, &msg) != FK_OK)
            return FK_ERR_SYS;
    }
    if (pipe(fds) != 0 || write(fds[1], "hello", 5) != 5)
        return FK_ERR_SYS;
    msg.type = 8;
    msg.n_fds = 1;
    msg.fds[0] = fds[0];
    if (fk_errand_say(sock, &msg) != FK_OK)
        return FK_ERR_SYS;
    if (errand->dies)
        raise(SIGKILL);
    errand->heard = 4711; /* changes a copy: the caller must not see it */
    return errand->result;
}

static void hear(void *arg, struct fk_procmsg *msg)
{
    struct errand *errand = arg;

    if (msg->type == 8) {
        errand->fd = msg->fds[0];
        msg->fds[0] = -1; /* moved */
        return;
    }
    assert_int_equal(msg->type, 7);
    assert_int_equal(msg->arg, errand->heard);
    memcpy(&errand->pid, msg->data, sizeof errand->pid);
    errand->heard++;
}

/* More than a socket holds: the errand waits for its hearer. */
static void everything_is_heard_in_order(void **state)
{
    struct errand errand = {.says = MANY, .fd = -1};
    char text[5];

    (void)state;
    assert_ok(fk_errand_run(work, hear, &errand));
    assert_int_equal(errand.heard, MANY);
    assert_int_equal(read(errand.fd, text, sizeof text), 5);
    assert_memory_equal(text, "hello", 5);
    fk_close(&errand.fd);
}

static void process_is_its_own_and_gone_afterwards(void **state)
{
    struct errand errand = {.says = 1, .fd = -1};

    (void)state;
    assert_ok(fk_errand_run(work, hear, &errand));
    assert_int_not_equal(errand.pid, getpid());
    assert_int_equal(kill(errand.pid, 0), -1);
    fk_close(&errand.fd);
}

static void error_of_the_work_is_the_errands(void **state)
{
    struct errand errand = {.says = 1, .result = FK_ERR_PASSPHRASE, .fd = -1};

    (void)state;
    assert_err(fk_errand_run(work, hear, &errand), FK_ERR_PASSPHRASE);
    assert_int_equal(errand.heard, 1);
    fk_close(&errand.fd);
}

static void death_is_an_error(void **state)
{
    struct errand errand = {.says = 1, .dies = true, .fd = -1};

    (void)state;
    assert_err(fk_errand_run(work, hear, &errand), FK_ERR_SYS);
    fk_close(&errand.fd);
}

UNIT_MAIN(cmocka_unit_test(everything_is_heard_in_order),
          cmocka_unit_test(process_is_its_own_and_gone_afterwards),
          cmocka_unit_test(error_of_the_work_is_the_errands), cmocka_unit_test(death_is_an_error))
