/* Options, phases and figures. Prints one JSON object on stdout.
 *
 * Phases: connect and shake hands one connection after the other; start all calls;
 * ignore the warm-up; count for the given seconds; print. With --idle it prints "ready"
 * and holds its connections (answering pings) until stdin ends.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MAX_SAMPLES (4u << 20) /* latencies kept per kind of caller: 16 MiB */

struct options options = {.host = "127.0.0.1", .inflight = 1, .size = 340, .warmup = 0.3,
                          .seconds = 1.0, .function = "bench::echo", .path = "/", .query = ""};
int counting;
static struct samples callers, probes;

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

void settled(struct connection *c, unsigned slot, int failed) {
    if (slot >= (unsigned)c->inflight) fail("an answer to call %u that was never made", slot);
    if (counting) {
        struct samples *s = c->role == PROBE ? &probes : &callers;
        s->count++;
        s->errors += (uint64_t)failed;
        if (s->kept < MAX_SAMPLES) s->ns[s->kept++] = (uint32_t)(now_ns() - c->sent_at[slot]);
    }
    call(c, slot);
}

static double cpu_of(int pid) {
    clockid_t clock;
    struct timespec t;
    if (!pid || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* One pass: read what is ready, handle it, send what became due. */
static int pass(int timeout_ms) {
    struct epoll_event events[256];
    int count = epoll_wait(readiness, events, 256, timeout_ms);
    if (count < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
    int ended = 0;
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (!c) {
            char ignored[64];
            if (read(0, ignored, sizeof ignored) <= 0) ended = 1;
            continue;
        }
        if (events[i].events & EPOLLOUT) flush_writable(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(c)) consume(c);
    }
    flush_dirty();
    return ended;
}

static struct connection *open_one(const char *host, int port, enum protocol protocol,
                                   enum role role, int index, int inflight) {
    struct connection *c = dial(host, port, protocol, role, index);
    c->inflight = inflight;
    c->sent_at = calloc((size_t)(inflight ? inflight : 1), sizeof *c->sent_at);
    if (!c->sent_at) fail("out of memory");
    watch(c);
    handshake(c);
    flush_dirty();
    uint64_t limit = now_ns() + 15000000000u;
    while (!c->ready) {
        if (now_ns() > limit) fail("no answer to the handshake of connection %d", index);
        pass(1000);
    }
    return c;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(struct samples *s, double seconds) {
    qsort(s->ns, s->kept, sizeof *s->ns, by_value);
    double p50 = s->kept ? s->ns[s->kept / 2] / 1e3 : 0;
    double p99 = s->kept ? s->ns[s->kept - 1 - s->kept / 100] / 1e3 : 0;
    printf("\"round_trips\":%llu,\"errors\":%llu,\"rate\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f",
           (unsigned long long)s->count, (unsigned long long)s->errors,
           (double)s->count / seconds, p50, p99);
}

static void measure(void) {
    uint64_t start = now_ns(), end = start + (uint64_t)(options.warmup * 1e9);
    while (now_ns() < end) pass(10);
    double server = cpu_of(options.server_pid), own = cpu_of(getpid());
    start = now_ns();
    end = start + (uint64_t)(options.seconds * 1e9);
    counting = 1;
    while (now_ns() < end) pass(10);
    counting = 0;
    double seconds = (double)(now_ns() - start) / 1e9;
    server = cpu_of(options.server_pid) - server;
    own = cpu_of(getpid()) - own;
    printf("{");
    print_samples(&callers, seconds);
    printf(",\"seconds\":%.4f,\"server_cpu\":%.6f,\"load_cpu\":%.6f,\"probe\":{", seconds,
           server, own);
    print_samples(&probes, seconds);
    printf("}}\n");
}

static void hold_idle(void) {
    for (int i = 0; i < options.idle; i++)
        open_one(options.host, options.port, WORKER, IDLE, i, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(readiness, EPOLL_CTL_ADD, 0, &event)) fail("stdin: %s", strerror(errno));
    puts("ready");
    fflush(stdout);
    while (!pass(-1)) {}
}

static const struct option names[] = {
    {"protocol", 1, 0, 'P'}, {"host", 1, 0, 'h'},      {"port", 1, 0, 'p'},
    {"callers", 1, 0, 'c'},  {"inflight", 1, 0, 'i'},  {"probes", 1, 0, 'b'},
    {"size", 1, 0, 's'},     {"warmup", 1, 0, 'w'},    {"seconds", 1, 0, 't'},
    {"idle", 1, 0, 'I'},     {"server-pid", 1, 0, 'S'}, {"function", 1, 0, 'f'},
    {"path", 1, 0, 'u'},     {"data", 1, 0, 'd'},  {"query", 1, 0, 'q'},      {"callee", 0, 0, 'e'},
    {"callee-port", 1, 0, 'E'}, {"api-path", 1, 0, 'a'}, {0, 0, 0, 0}};

static enum protocol protocol_of(const char *name) {
    const char *known[] = {"line", "worker", "nats", "http", "wamp"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(name, known[i])) return (enum protocol)i;
    fail("unknown protocol %s", name);
}

static void parse(int argc, char **argv) {
    for (int o; (o = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        switch (o) {
        case 'P': options.protocol = protocol_of(optarg); break;
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'c': options.callers = atoi(optarg); break;
        case 'i': options.inflight = atoi(optarg); break;
        case 'b': options.probes = atoi(optarg); break;
        case 's': options.size = strtoul(optarg, NULL, 10); break;
        case 'w': options.warmup = atof(optarg); break;
        case 't': options.seconds = atof(optarg); break;
        case 'I': options.idle = atoi(optarg); break;
        case 'S': options.server_pid = atoi(optarg); break;
        case 'f': options.function = optarg; break;
        case 'u': options.path = optarg; break;
        case 'q': options.query = optarg; break;
        case 'd': options.data = optarg; break;
        case 'e': options.with_callee = 1; break;
        case 'E': options.callee_port = atoi(optarg); break;
        case 'a': options.api_path = optarg; break;
        default: fail("usage: see benchmarks/README.md");
        }
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    prepare();
    readiness = epoll_create1(EPOLL_CLOEXEC);
    if (options.idle) {
        hold_idle();
        return 0;
    }
    callers.ns = malloc(MAX_SAMPLES * sizeof(uint32_t));
    probes.ns = malloc(MAX_SAMPLES * sizeof(uint32_t));
    if (options.with_callee) {
        int port = options.callee_port ? options.callee_port : options.port;
        open_one(options.host, port, options.protocol == HTTP ? WORKER : options.protocol, CALLEE,
                 9999, 0);
    }
    int count = options.callers + options.probes;
    struct connection **all = calloc((size_t)count + 1, sizeof *all);
    for (int i = 0; i < count; i++)
        all[i] = open_one(options.host, options.port, options.protocol,
                          i < options.callers ? CALLER : PROBE, i,
                          i < options.callers ? options.inflight : 1);
    for (int i = 0; i < count; i++)
        for (int slot = 0; slot < all[i]->inflight; slot++) call(all[i], (unsigned)slot);
    flush_dirty();
    measure();
    return 0;
}
