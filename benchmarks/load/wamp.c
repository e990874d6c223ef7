/* WAMP over WebSocket, basic profile, JSON: what crossbar speaks. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROCEDURE "bench.echo"
#define SLOTS 65536u /* a request id is a number of the connection's, and the slot */

/* The numbers that begin a message. */
enum { WELCOME = 2, ERROR = 8, RESULT = 50, REGISTERED = 65, INVOCATION = 68 };

void wamp_hello(struct connection *c) {
    ws_text(c, c->role == CALLEE ? "[1,\"bench\",{\"roles\":{\"callee\":{}}}]"
                                 : "[1,\"bench\",{\"roles\":{\"caller\":{}}}]");
}

void wamp_call(struct connection *c, unsigned slot) {
    char head[96];
    snprintf(head, sizeof head, "[48,%llu,{},\"" PROCEDURE "\",[",
             (unsigned long long)c->calls++ * SLOTS + slot);
    ws_around_payload(c, head, "]]");
}

void wamp_text(struct connection *c, const char *text) {
    char *end, head[64];
    long kind = strtol(text + 1, &end, 10);
    if (kind == WELCOME) {
        if (c->role == CALLEE) ws_text(c, "[64,1,{},\"" PROCEDURE "\"]");
        else c->ready = 1;
    } else if (kind == REGISTERED) {
        c->ready = 1;
    } else if (kind == INVOCATION) {
        snprintf(head, sizeof head, "[70,%llu,{},[", strtoull(end + 1, NULL, 10));
        ws_around_payload(c, head, "]]");
    } else if (kind == RESULT) {
        settled(c, (unsigned)(strtoull(end + 1, NULL, 10) % SLOTS), 0);
    } else if (kind == ERROR && strtol(end + 1, &end, 10) == 48) {
        settled(c, (unsigned)(strtoull(end + 1, NULL, 10) % SLOTS), 1);
    } else {
        fail("WAMP: %.60s", text);
    }
}
