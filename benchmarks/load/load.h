/* The load generator of the benchmarks: callers and a callee in one epoll loop.
 *
 * main.c       options, phases, figures     connection.c  sockets and buffers
 * protocols.c  what is said: lines, WebSocket worker frames, NATS, HTTP/1.1
 * wamp.c       and WAMP
 */
#ifndef LOAD_H
#define LOAD_H

#include <stddef.h>
#include <stdint.h>

enum protocol { LINE, WORKER, NATS, HTTP, WAMP };
enum role { CALLER, PROBE, CALLEE, IDLE };

struct bytes {
    char *data;
    size_t start, end, capacity;
};

struct connection {
    int fd;
    int index;             /* number of the caller, unique over callers and probes */
    enum protocol protocol;
    enum role role;
    int inflight;          /* calls this caller keeps in flight */
    int ready;             /* set-up: the peer has answered the barrier */
    int open;              /* set-up: the handshake is done */
    int dirty;             /* has unsent bytes and stands in the list of dirty ones */
    int waits_writable;
    uint32_t mask;         /* WebSocket mask, per connection */
    uint64_t calls;        /* WAMP: made so far */
    uint64_t *sent_at;     /* ns, by slot */
    struct bytes in, out;
};

struct options {
    enum protocol protocol;
    const char *host;
    int port;
    const char *callee_host; /* the callee's WebSocket, when callers speak HTTP */
    int callee_port;         /* 0: no callee in this process, or same port */
    int callers, inflight, probes, idle;
    int with_callee;
    size_t size;             /* bytes of one call frame, request body or line */
    double warmup, seconds;
    int server_pid;
    const char *function;
    const char *path;        /* HTTP request path */
    const char *query;       /* of the WebSocket address: "?token=..." */
    const char *data;        /* payload; "@@@@@@@@" becomes a number of 8 digits */
    const char *api_path;    /* the callee binds an http trigger at this path */
};

struct samples {
    uint64_t count, errors;
    uint32_t *ns;
    size_t kept;
};

extern struct options options;
extern int counting;

/* main.c */
uint64_t now_ns(void);
void settled(struct connection *c, unsigned slot, int failed);
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* connection.c */
struct connection *dial(const char *host, int port, enum protocol, enum role, int index);
void append(struct connection *c, const void *data, size_t length);
char *extend(struct connection *c, size_t length);
void flush_dirty(void);
void flush_writable(struct connection *c);
int receive(struct connection *c);
void watch(struct connection *c);
extern int readiness;

/* protocols.c */
void prepare(void);
void handshake(struct connection *c);
void call(struct connection *c, unsigned slot);
void consume(struct connection *c);
void ws_text(struct connection *c, const char *text);
void ws_around_payload(struct connection *c, const char *head, const char *tail);

/* wamp.c */
void wamp_hello(struct connection *c);
void wamp_call(struct connection *c, unsigned slot);
void wamp_text(struct connection *c, const char *text);

#endif
