/*
 * A plain TCP origin for benchmarks: answers whatever arrives with one fixed HTTP response and goes
 * on. The same for every server that is measured, so that its cost cancels out.
 *
 * On a port of its own of this host, which it prints; or, with an argument, on that port of all its
 * addresses.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void accept_all(int epoll, int listener)
{
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void answer(int fd)
{
    char request[4096];
    ssize_t n = read(fd, request, sizeof request);

    if (n <= 0 || write(fd, response, sizeof response - 1) < 0)
        close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(argc > 1 ? INADDR_ANY : INADDR_LOOPBACK),
                               .sin_port =
                                   htons(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0)};
    socklen_t len = sizeof addr;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];

    if (listener < 0 || epoll < 0 || bind(listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(listener, 4096) != 0 || getsockname(listener, (struct sockaddr *)&addr, &len) != 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) {
        perror("origin");
        return 1;
    }
    printf("%u\n", ntohs(addr.sin_port));
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(epoll, listener);
            else
                answer(events[i].data.fd);
        }
    }
}
