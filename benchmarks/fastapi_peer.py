"""The HTTP peer: FastAPI on uvicorn with uvloop and httptools; argument: the port.

Runs in a virtual environment of its own, see ``_http.py``.
"""

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, Request


async def add(request: Request) -> dict[str, Any]:
    """Add ``a`` and ``b`` of the body."""
    body = await request.json()
    return {"sum": body["a"] + body["b"], "ok": True}


app = FastAPI()
app.add_api_route("/bench/local", add, methods=["POST"])

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="error",
        access_log=False,
    )
