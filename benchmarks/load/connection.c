/* Sockets and buffers. Writes are joined: one send per connection and pass. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int readiness = -1;

static struct connection **dirty;
static size_t dirty_count, dirty_capacity;

static void reserve(struct bytes *b, size_t more) {
    if (b->start == b->end) b->start = b->end = 0;
    if (b->capacity - b->end >= more) return;
    if (b->start) {
        memmove(b->data, b->data + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->capacity - b->end >= more) return;
    size_t capacity = b->capacity ? b->capacity : 1024;
    while (capacity - b->end < more) capacity *= 2;
    b->data = realloc(b->data, capacity);
    if (!b->data) fail("out of memory");
    b->capacity = capacity;
}

struct connection *dial(const char *host, int port, enum protocol protocol, enum role role,
                        int index) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &found) || !found) fail("no address for %s", host);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket: %s", strerror(errno));
    if (connect(fd, found->ai_addr, found->ai_addrlen))
        fail("connect to %s:%d: %s", host, port, strerror(errno));
    freeaddrinfo(found);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    struct connection *c = calloc(1, sizeof *c);
    if (!c) fail("out of memory");
    c->fd = fd;
    c->index = index;
    c->protocol = protocol;
    c->role = role;
    c->mask = 0x9e3779b9u * (uint32_t)(index + 7) | 0x01010101u;
    return c;
}

void watch(struct connection *c) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(readiness, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll: %s", strerror(errno));
}

static void want_writable(struct connection *c, int wanted) {
    if (c->waits_writable == wanted) return;
    c->waits_writable = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(readiness, EPOLL_CTL_MOD, c->fd, &event);
}

char *extend(struct connection *c, size_t length) {
    reserve(&c->out, length);
    char *at = c->out.data + c->out.end;
    c->out.end += length;
    if (!c->dirty) {
        c->dirty = 1;
        if (dirty_count == dirty_capacity) {
            dirty_capacity = dirty_capacity ? dirty_capacity * 2 : 64;
            dirty = realloc(dirty, dirty_capacity * sizeof *dirty);
            if (!dirty) fail("out of memory");
        }
        dirty[dirty_count++] = c;
    }
    return at;
}

void append(struct connection *c, const void *data, size_t length) {
    memcpy(extend(c, length), data, length);
}

void flush_writable(struct connection *c) {
    while (c->out.start < c->out.end) {
        ssize_t sent =
            send(c->fd, c->out.data + c->out.start, c->out.end - c->out.start, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            want_writable(c, 1);
            return;
        }
        if (sent < 0) fail("send: %s", strerror(errno));
        c->out.start += (size_t)sent;
    }
    want_writable(c, 0);
}

void flush_dirty(void) {
    for (size_t i = 0; i < dirty_count; i++) {
        dirty[i]->dirty = 0;
        flush_writable(dirty[i]);
    }
    dirty_count = 0;
}

/* One recv. 0: nothing there. */
int receive(struct connection *c) {
    reserve(&c->in, c->role == IDLE ? 1024 : 128 * 1024);
    ssize_t got = recv(c->fd, c->in.data + c->in.end, c->in.capacity - c->in.end, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got < 0) fail("recv: %s", strerror(errno));
    if (got == 0) fail("the server closed connection %d", c->index);
    c->in.end += (size_t)got;
    return 1;
}
