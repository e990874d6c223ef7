/* What is said: lines to the relays, worker frames over WebSocket, NATS, HTTP/1.1. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ID_LENGTH 36
#define PLACEHOLDER "@@@@@@@@"
#define ID_MARK "\"invocation_id\":\""

static char *payload;         /* JSON of a call and of its result, or filler of a line */
static size_t payload_length;
static size_t placeholder;    /* offset in payload, or SIZE_MAX */
static uint32_t sequence;     /* numbers calls; part of their ids */

static void *find(const char *text, size_t length, const char *needle) {
    return memmem(text, length, needle, strlen(needle));
}

/* The payload that makes a whole call frame options.size bytes long. */
void prepare(void) {
    if (options.data) {
        payload = strdup(options.data);
        payload_length = strlen(payload);
    } else {
        size_t frame = sizeof "{\"type\":\"invokefunction\",\"invocation_id\":\"\","
                              "\"function_id\":\"\",\"data\":}" - 1 + ID_LENGTH +
                       strlen(options.function);
        if (options.protocol != WORKER) frame = 0;
        size_t wanted = options.size > frame + 32 ? options.size - frame : 32;
        payload = malloc(wanted + 1);
        int head = sprintf(payload, "{\"n\":1,\"text\":\"");
        memset(payload + head, 'x', wanted - (size_t)head);
        memcpy(payload + wanted - 2, "\"}", 3);
        payload_length = wanted;
    }
    char *at = find(payload, payload_length, PLACEHOLDER);
    placeholder = at ? (size_t)(at - payload) : SIZE_MAX;
}

static void put_payload(char *at) {
    memcpy(at, payload, payload_length);
    if (placeholder != SIZE_MAX) {
        char digits[9];
        snprintf(digits, sizeof digits, "%08x", sequence);
        memcpy(at + placeholder, digits, 8);
    }
}

/* ---- WebSocket, client side: every frame is masked ---- */

static void ws_send(struct connection *c, int opcode, const struct bytes *parts, int count) {
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].end;
    size_t head = length < 126 ? 6 : length < 65536 ? 8 : 14;
    unsigned char *at = (unsigned char *)extend(c, head + length);
    at[0] = (unsigned char)(0x80 | opcode);
    if (length < 126) {
        at[1] = (unsigned char)(0x80 | length);
    } else if (length < 65536) {
        at[1] = 0x80 | 126;
        at[2] = (unsigned char)(length >> 8);
        at[3] = (unsigned char)length;
    } else {
        at[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++) at[2 + i] = (unsigned char)((uint64_t)length >> (56 - 8 * i));
    }
    memcpy(at + head - 4, &c->mask, 4);
    char *body = (char *)at + head, *to = body;
    for (int i = 0; i < count; i++) {
        if (parts[i].data == payload) put_payload(to);
        else memcpy(to, parts[i].data, parts[i].end);
        to += parts[i].end;
    }
    uint64_t mask = (uint64_t)c->mask << 32 | c->mask, word;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&word, body + i, 8);
        word ^= mask;
        memcpy(body + i, &word, 8);
    }
    for (; i < length; i++) body[i] ^= ((char *)&c->mask)[i & 3];
}

#define TEXT(s) {.data = (char *)(s), .end = strlen(s)}
#define PAYLOAD {.data = payload, .end = payload_length}

void ws_text(struct connection *c, const char *text) {
    struct bytes part = TEXT(text);
    ws_send(c, 1, &part, 1);
}

void ws_around_payload(struct connection *c, const char *head, const char *tail) {
    struct bytes parts[] = {TEXT(head), PAYLOAD, TEXT(tail)};
    ws_send(c, 1, parts, 3);
}

static void call_worker(struct connection *c, unsigned slot) {
    char id[ID_LENGTH + 1];
    snprintf(id, sizeof id, "%08x-%04x-4000-8000-%012x", sequence, (unsigned)c->index & 0xffffu,
             slot);
    struct bytes parts[] = {TEXT("{\"type\":\"invokefunction\",\"invocation_id\":\""),
                            {.data = id, .end = ID_LENGTH},
                            TEXT("\",\"function_id\":\""),
                            TEXT(options.function),
                            TEXT("\",\"data\":"),
                            PAYLOAD,
                            TEXT("}")};
    ws_send(c, 1, parts, 7);
}

/* The callee answers what it was sent with a payload of the same size; a call that comes
 * from an http trigger gets a small fixed body. */
static void answer_worker(struct connection *c, const char *id) {
    struct bytes result = PAYLOAD;
    if (options.protocol == HTTP) result = (struct bytes)TEXT("{\"sum\":5,\"ok\":true}");
    struct bytes parts[] = {TEXT("{\"type\":\"invocationresult\",\"invocation_id\":\""),
                            {.data = (char *)id, .end = ID_LENGTH},
                            TEXT("\",\"function_id\":\""),
                            TEXT(options.function),
                            TEXT("\",\"result\":"),
                            result,
                            TEXT("}")};
    ws_send(c, 1, parts, 7);
}

static void on_text(struct connection *c, char *text, size_t length) {
    if (c->protocol == WAMP) {
        wamp_text(c, text);
        return;
    }
    if (!c->ready) {
        if (find(text, length, "\"pong\"")) c->ready = 1;
        return;
    }
    char *mark = find(text, length, ID_MARK);
    if (!mark || mark + sizeof ID_MARK + ID_LENGTH > text + length) return;
    char *id = mark + sizeof ID_MARK - 1;
    if (c->role == CALLEE) {
        if (find(text, length, "\"invokefunction\"")) answer_worker(c, id);
    } else if (c->role != IDLE && find(text, length, "\"invocationresult\"")) {
        unsigned slot = (unsigned)strtoul(id + 24, NULL, 16);
        settled(c, slot, find(text, length, "\"error\":") != NULL);
    }
}

/* One frame; 0 when it is not complete. Servers may fragment above 1 MiB: not used here. */
static int ws_frame(struct connection *c) {
    unsigned char *at = (unsigned char *)c->in.data + c->in.start;
    size_t there = c->in.end - c->in.start, head = 2;
    if (there < 2) return 0;
    uint64_t length = at[1] & 0x7f;
    if (length == 126) {
        head = 4;
        if (there < head) return 0;
        length = (uint64_t)at[2] << 8 | at[3];
    } else if (length == 127) {
        head = 10;
        if (there < head) return 0;
        length = 0;
        for (int i = 0; i < 8; i++) length = length << 8 | at[2 + i];
    }
    if (there < head + length) return 0;
    int opcode = at[0] & 0x0f;
    if (!(at[0] & 0x80)) fail("fragmented message from the server");
    c->in.start += head + length;
    if (opcode == 1) {
        on_text(c, (char *)at + head, length);
    } else if (opcode == 9) {
        struct bytes part = {.data = (char *)at + head, .end = length};
        ws_send(c, 10, &part, 1);
    } else if (opcode == 8) {
        fail("the server sent Close to connection %d", c->index);
    }
    return 1;
}

static void announce(struct connection *c) {
    char text[1024];
    const char *what = c->role == CALLEE ? "callee" : c->role == IDLE ? "idle" : "caller";
    snprintf(text, sizeof text,
             "{\"type\":\"invokefunction\",\"function_id\":\"engine::workers::register\","
             "\"action\":{\"type\":\"void\"},\"data\":{\"name\":\"bench-%s-%d-%08x\","
             "\"runtime\":\"c\",\"version\":\"1\"}}",
             what, c->index, (unsigned)now_ns());
    ws_text(c, text);
    if (c->role == CALLEE) {
        snprintf(text, sizeof text, "{\"type\":\"registerfunction\",\"id\":\"%s\"}",
                 options.function);
        ws_text(c, text);
        if (options.api_path) {
            snprintf(text, sizeof text,
                     "{\"type\":\"registertrigger\",\"id\":\"bench-http\",\"trigger_type\":"
                     "\"http\",\"function_id\":\"%s\",\"config\":{\"api_path\":\"%s\","
                     "\"http_method\":\"POST\"}}",
                     options.function, options.api_path);
            ws_text(c, text);
        }
    }
    ws_text(c, "{\"type\":\"ping\"}");
}

/* ---- all protocols ---- */

void handshake(struct connection *c) {
    char text[512];
    if (c->protocol == WORKER || c->protocol == WAMP) {
        snprintf(text, sizeof text,
                 "GET /%s HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 "Sec-WebSocket-Version: 13\r\n%s\r\n",
                 options.query,
                 c->protocol == WAMP ? "Sec-WebSocket-Protocol: wamp.2.json\r\n" : "");
    } else if (c->protocol == LINE) {
        c->open = c->ready = 1;
        snprintf(text, sizeof text, c->role == CALLEE ? "callee\n" : "c%04d\n", c->index);
    } else if (c->protocol == NATS) {
        c->open = 1;
        char subject[64];
        if (c->role == CALLEE) snprintf(subject, sizeof subject, "bench.echo");
        else snprintf(subject, sizeof subject, "_INBOX.%d.*", c->index);
        snprintf(text, sizeof text,
                 "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB %s 1\r\nPING\r\n",
                 subject);
    } else {
        c->open = c->ready = 1;
        return;
    }
    append(c, text, strlen(text));
}

void call(struct connection *c, unsigned slot) {
    char head[512];
    int length;
    c->sent_at[slot] = now_ns();
    sequence++;
    switch (c->protocol) {
    case WORKER:
        call_worker(c, slot);
        return;
    case WAMP:
        wamp_call(c, slot);
        return;
    case LINE:
        length = snprintf(head, sizeof head, "c%04d %04x ", c->index, slot);
        append(c, head, (size_t)length);
        append(c, payload, payload_length - (size_t)length - 1);
        append(c, "\n", 1);
        return;
    case NATS:
        length = snprintf(head, sizeof head, "PUB bench.echo _INBOX.%d.%x %zu\r\n", c->index,
                          slot, payload_length);
        append(c, head, (size_t)length);
        append(c, payload, payload_length);
        append(c, "\r\n", 2);
        return;
    case HTTP:
        length = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: "
                          "application/json\r\nContent-Length: %zu\r\n\r\n",
                          options.path, payload_length);
        append(c, head, (size_t)length);
        put_payload(extend(c, payload_length));
        return;
    }
}

static int take_line(struct connection *c) {
    char *at = c->in.data + c->in.start;
    char *end = memchr(at, '\n', c->in.end - c->in.start);
    if (!end) return 0;
    size_t length = (size_t)(end - at) + 1;
    c->in.start += length;
    if (c->role == CALLEE) append(c, at, length);
    else settled(c, (unsigned)strtoul(at + 6, NULL, 16), length != payload_length);
    return 1;
}

static int take_nats(struct connection *c) {
    char *at = c->in.data + c->in.start;
    size_t there = c->in.end - c->in.start;
    char *end = memchr(at, '\n', there);
    if (!end) return 0;
    size_t head = (size_t)(end - at) + 1;
    if (!memcmp(at, "PING", 4)) append(c, "PONG\r\n", 6);
    if (!memcmp(at, "PONG", 4)) c->ready = 1;
    if (!memcmp(at, "-ERR", 4)) fail("NATS: %.*s", (int)head, at);
    if (memcmp(at, "MSG ", 4)) {
        c->in.start += head;
        return 1;
    }
    char *size = end;
    while (size[-1] != ' ') size--;
    size_t length = strtoul(size, NULL, 10);
    if (there < head + length + 2) return 0;
    char subject[64], reply[64], out[128];
    subject[0] = reply[0] = 0;
    sscanf(at, "MSG %63s %*s %63s", subject, reply);
    c->in.start += head + length + 2;
    if (c->role == CALLEE) {
        int written = snprintf(out, sizeof out, "PUB %s %zu\r\n", reply, length);
        append(c, out, (size_t)written);
        append(c, at + head, length + 2);
    } else {
        char *dot = strrchr(subject, '.');
        settled(c, dot ? (unsigned)strtoul(dot + 1, NULL, 16) : 0, length != payload_length);
    }
    return 1;
}

static int take_http(struct connection *c) {
    char *at = c->in.data + c->in.start;
    size_t there = c->in.end - c->in.start;
    char *end = find(at, there, "\r\n\r\n");
    if (!end) return 0;
    size_t head = (size_t)(end - at) + 4, length = 0;
    int sized = 0;
    for (char *line = at; line < end;) {
        char *next = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        if (!strncasecmp(line, "content-length:", 15)) {
            length = strtoul(line + 15, NULL, 10);
            sized = 1;
        }
        line = next + 2;
    }
    if (!sized) {
        char *last = find(at + head, there - head, "0\r\n\r\n");
        if (!last) return 0;
        length = (size_t)(last - at) + 5 - head;
    }
    if (there < head + length) return 0;
    c->in.start += head + length;
    settled(c, 0, memcmp(at + 9, "200", 3) != 0);
    return 1;
}

void consume(struct connection *c) {
    if ((c->protocol == WORKER || c->protocol == WAMP) && !c->open) {
        char *at = c->in.data + c->in.start;
        char *end = find(at, c->in.end - c->in.start, "\r\n\r\n");
        if (!end) return;
        if (memcmp(at + 9, "101", 3)) fail("no WebSocket: %.12s", at);
        c->in.start += (size_t)(end - at) + 4;
        c->open = 1;
        if (c->protocol == WAMP) wamp_hello(c);
        else announce(c);
    }
    int more = 1;
    while (more) {
        switch (c->protocol) {
        case WORKER:
        case WAMP: more = ws_frame(c); break;
        case LINE: more = take_line(c); break;
        case NATS: more = take_nats(c); break;
        case HTTP: more = take_http(c); break;
        }
    }
}
