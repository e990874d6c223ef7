"""The iii Quickstart in 20 steps, against a server and workers that it starts itself.

``make quickstart``, or ``python run.py --help``. Each step prints what was called and
what came back; the first one that is not as it should be ends the run with exit code 1.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Awaitable, Callable, Sequence

import trio
from stage import Answer, Settings, Stage, StageError, open_stage

PATH = "/math/add-two-numbers"
HUNDREDS = {"a": 100, "b": 200}

Step = Callable[[Stage], Awaitable[object]]


def expect(condition: bool, seen: object) -> None:
    """Fail the step, saying what was seen, unless the condition holds."""
    if not condition:
        raise StageError(f"unexpected: {seen}")


async def expect_value(call: Awaitable[Answer], **fields: object) -> Answer:
    """Await a call and compare the named fields of its value."""
    answer = await call
    value = answer.value
    expect(isinstance(value, dict), answer)
    expect({key: value.get(key) for key in fields} == fields, answer)
    return answer


async def has_function(stage: Stage, function_id: str, *, present: bool = True) -> None:
    """Wait until the engine lists a function, or no longer does."""

    async def check() -> bool:
        return (
            function_id in await stage.listed("functions", "function_id")
        ) == present

    await stage.until(f"{function_id} is listed: {present}", check)


async def route_answers(stage: Stage, status: int) -> None:
    """Wait until GET on the route, which only takes POST, has this status."""

    async def check() -> bool:
        answer = await stage.http("GET", PATH)
        return answer is not None and answer.status_code == status

    await stage.until(f"GET {PATH} answers {status}", check)


async def post(stage: Stage, body: object, status: int, **fields: object) -> str:
    """POST to the route and compare the answer."""
    answer = await stage.http("POST", PATH, body)
    if answer is None:
        raise StageError("nobody listens on the HTTP port")
    seen = f"{answer.status_code} {answer.text}"
    expect(answer.status_code == status, seen)
    expect(answer.headers["content-type"].startswith("application/json"), seen)
    if fields:
        expect(answer.json() == fields, seen)
    return seen


async def start_engine(stage: Stage) -> str:
    """Start the engine with an empty list of workers."""
    stage.configure()
    await stage.start_engine()
    return f"it listens on {stage.url}"


async def call_nobody(stage: Stage) -> Answer:
    """Call math::add a=2 b=3."""
    answer = await stage.call("math::add", "a=2", "b=3")
    error = answer.error or {}
    expect(answer.exit_code == 1 and error.get("code") == "function_not_found", answer)
    expect("Function math::add not found" in error["message"], answer)
    return answer


async def start_math_worker(stage: Stage) -> str:
    """Start math-worker (Python)."""
    await stage.start_math_worker()
    await has_function(stage, "math::add")
    workers = await stage.listed("workers", "name")
    expect("math-worker" in workers, sorted(workers))
    return "math-worker and math::add are listed"


async def call_add(stage: Stage) -> Answer:
    """Call math::add a=2 b=3."""
    return await expect_value(stage.call("math::add", "a=2", "b=3"), c=5)


async def start_caller_worker(stage: Stage) -> str:
    """Start caller-worker (TypeScript)."""
    await stage.start_caller_worker()
    await has_function(stage, "math::add_two_numbers")
    return "math::add_two_numbers is listed"


async def call_add_two_numbers(stage: Stage) -> Answer:
    """Call math::add_two_numbers a=10 b=20."""
    call = stage.call("math::add_two_numbers", "a=10", "b=20")
    return await expect_value(call, c=30)


async def add_state_worker(stage: Stage) -> str:
    """Add the state worker to the config file."""
    before = await stage.listed("workers", "name")
    stage.configure(state={})
    await has_function(stage, "state::get")
    after = await stage.listed("workers", "name")
    for name in ("math-worker", "caller-worker"):
        expect(before[name]["id"] == after.get(name, {}).get("id"), after)
    return "state::get is listed, both workers kept their connections"


async def keep_total(stage: Stage) -> str:
    """Set KEEP_TOTAL in math_worker.py, start it again."""
    old = (await stage.listed("workers", "name"))["math-worker"]["id"]
    stage.edit("math_worker.py", "KEEP_TOTAL = False", "KEEP_TOTAL = True")
    await stage.stop("math-worker")
    await stage.start_math_worker()

    async def is_new() -> bool:
        worker = (await stage.listed("workers", "name")).get("math-worker")
        return worker is not None and worker["id"] != old

    await stage.until("the new math-worker is listed", is_new)
    await has_function(stage, "math::add")
    return "math::add has one owner, the new process"


async def first_total(stage: Stage) -> Answer:
    """Call math::add a=2 b=3."""
    call = stage.call("math::add", "a=2", "b=3")
    return await expect_value(call, c=5, running_total=5)


async def second_total(stage: Stage) -> Answer:
    """Call math::add a=10 b=20."""
    call = stage.call("math::add", "a=10", "b=20")
    return await expect_value(call, c=30, running_total=35)


async def read_total(stage: Stage, total: int = 35) -> Answer:
    """Call state::get scope=math key=running_total."""
    answer = await stage.call("state::get", "scope=math", "key=running_total")
    expect(answer.value == total, answer)
    return answer


async def serve_http(stage: Stage) -> str:
    """Set SERVE_HTTP in caller_worker.ts, start it again."""
    stage.edit(
        "caller_worker.ts", "SERVE_HTTP: boolean = false", "SERVE_HTTP: boolean = true"
    )
    await stage.stop("caller-worker")
    await stage.start_caller_worker()
    await has_function(stage, "http::add_two_numbers")
    # Zeros, because every call counts in the total.
    body = json.dumps({"body": {"a": 0, "b": 0}})
    answer = await stage.call("http::add_two_numbers", "--json", body)
    expect(
        answer.exit_code == 0 and answer.value["body"]["running_total"] == 35, answer
    )
    return f"called directly: {answer}; its trigger is parked"


async def add_http_worker(stage: Stage) -> str:
    """Add the http worker to the config file."""
    before = await stage.listed("workers", "name")
    stage.configure(state={}, http={"port": stage.settings.http_port})
    await route_answers(stage, 405)
    after = await stage.listed("workers", "name")
    for name in ("math-worker", "caller-worker"):
        expect(before[name]["id"] == after.get(name, {}).get("id"), after)
    return f"the parked trigger is live on port {stage.settings.http_port}"


async def post_hundreds(stage: Stage) -> str:
    """POST /math/add-two-numbers {"a": 100, "b": 200}."""
    return await post(stage, HUNDREDS, 200, c=300, running_total=335)


async def shared_total(stage: Stage) -> Answer:
    """Call math::add_two_numbers a=1 b=1."""
    call = stage.call("math::add_two_numbers", "a=1", "b=1")
    return await expect_value(call, c=2, running_total=337)


async def wrong_requests(stage: Stage) -> str:
    """GET /math/add-two-numbers."""
    await route_answers(stage, 405)
    answer = await stage.http("GET", "/nowhere")
    if answer is None:
        raise StageError("nobody listens on the HTTP port")
    expect(answer.status_code == 404 and answer.json()["error"]["code"], answer.text)
    return f"405; GET /nowhere: 404 {answer.text}"


async def stop_math_worker(stage: Stage) -> str:
    """Stop math-worker, POST /math/add-two-numbers."""
    await stage.stop("math-worker")
    await has_function(stage, "math::add", present=False)
    seen = await post(stage, HUNDREDS, 500)
    error = json.loads(seen.partition(" ")[2])["error"]
    expect(error["code"] == "invocation_failed" and bool(error["error_id"]), seen)
    expect(
        "math::add_two_numbers" in await stage.listed("functions", "function_id"), seen
    )
    return seen


async def math_worker_again(stage: Stage) -> str:
    """Start math-worker, POST /math/add-two-numbers."""
    await stage.start_math_worker()
    await has_function(stage, "math::add")
    return await post(stage, HUNDREDS, 200, c=300, running_total=637)


async def stop_caller_worker(stage: Stage) -> str:
    """Stop caller-worker."""
    await stage.stop("caller-worker")
    await has_function(stage, "http::add_two_numbers", present=False)
    await route_answers(stage, 404)
    call = stage.call("math::add", "a=0", "b=0")
    answer = await expect_value(call, c=0, running_total=637)
    return f"its route answers 404; math::add a=0 b=0: {answer}"


async def restart_engine(stage: Stage) -> str:
    """Start caller-worker, stop and start the engine."""
    await stage.start_caller_worker()
    await route_answers(stage, 405)
    exit_code = await stage.stop("engine")
    expect(exit_code == 0, f"the engine left with exit code {exit_code}")
    await stage.start_engine()
    await has_function(stage, "math::add")
    await route_answers(stage, 405)
    await read_total(stage, 637)
    seen = await post(stage, {"a": 0, "b": 0}, 200, c=0, running_total=637)
    return f"both workers came back by themselves, POST of zeros: {seen}"


STEPS: tuple[Step, ...] = (
    start_engine,
    call_nobody,
    start_math_worker,
    call_add,
    start_caller_worker,
    call_add_two_numbers,
    add_state_worker,
    keep_total,
    first_total,
    second_total,
    read_total,
    serve_http,
    add_http_worker,
    post_hundreds,
    shared_total,
    wrong_requests,
    stop_math_worker,
    math_worker_again,
    stop_caller_worker,
    restart_engine,
)
"""In order; the docstring of each is what is printed."""


async def run_steps(settings: Settings) -> None:
    """Run all steps in order; raise `StageError` at the first that fails."""
    async with open_stage(settings) as stage:
        for number, step in enumerate(STEPS, start=1):
            what = (step.__doc__ or "").removesuffix(".")
            try:
                seen = await step(stage)
            except StageError:
                print(stage.logs(), file=sys.stderr)
                print(f"{number:>2}. {what} -> FAILED", file=sys.stderr)
                raise
            print(f"{number:>2}. {what} -> {seen}", flush=True)


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the command line."""
    defaults = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=defaults.port)
    parser.add_argument("--http-port", type=int, default=defaults.http_port)
    parser.add_argument("--python", default=defaults.python, help="has the iii-sdk")
    for name in ("node_modules", "math_worker", "caller_worker"):
        option = "--" + name.replace("_", "-")
        default = getattr(defaults, name)
        parser.add_argument(option, type=pathlib.Path, default=default)
    return Settings(**vars(parser.parse_args(arguments)))


def main() -> int:
    """Run the Quickstart and return the exit code."""
    settings = parse()
    if (busy := settings.busy_port()) is not None:
        print(f"Error: {busy}", file=sys.stderr)
        return 1
    failures: list[BaseException] = []
    try:
        trio.run(run_steps, settings)
    except* StageError as group:
        failures.extend(group.exceptions)
    for failure in failures:
        print(f"Error: {failure}", file=sys.stderr)
    if failures:
        return 1
    print(f"All {len(STEPS)} steps done, nothing left running, no port left open.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
