"""The inputs of the ``engine::*`` functions; unknown keys are ignored."""

from typing import Any

import attrs

JSON = Any


@attrs.frozen
class FunctionsList:
    """Input of ``engine::functions::list``."""

    search: str | None = None
    prefix: str | None = None
    worker: str | None = None
    workers: list[str] | None = None
    include_internal: bool = False


@attrs.frozen
class FunctionsInfo:
    """Input of ``engine::functions::info``."""

    function_id: str | None = None
    function_ids: list[str] | None = None
    namespace: str | None = None


@attrs.frozen
class TriggersList:
    """Input of ``engine::triggers::list``."""

    search: str | None = None
    prefix: str | None = None
    worker: str | None = None
    include_internal: bool = False


@attrs.frozen
class TriggersInfo:
    """Input of ``engine::triggers::info``."""

    id: str
    namespace: str | None = None


@attrs.frozen
class RegisteredTriggersList:
    """Input of ``engine::registered-triggers::list``."""

    search: str | None = None
    trigger_type: str | None = None
    function_id: str | None = None
    worker: str | None = None
    include_internal: bool = False
    include_pending: bool = True


@attrs.frozen
class ById:
    """Input of functions that take one id."""

    id: str
    trigger_type: str | None = None


@attrs.frozen
class WorkersList:
    """Input of ``engine::workers::list``."""

    search: str | None = None
    runtime: str | None = None
    status: str | None = None


@attrs.frozen
class WorkersInfo:
    """Input of ``engine::workers::info``."""

    name: str
    namespace: str | None = None


@attrs.frozen
class WorkersRegister:
    """Input of ``engine::workers::register``."""

    name: str | None = None
    namespace: str | None = None
    runtime: str | None = None
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None
    features: list[str] | None = None


@attrs.frozen
class TriggerRegister:
    """Input of ``engine::register_trigger``."""

    trigger_type: str
    function_id: str
    config: JSON = None
    metadata: JSON = None
    namespace: str | None = None
    trigger_namespace: str | None = None


@attrs.frozen
class ChannelsCreate:
    """Input of ``engine::channels::create``."""

    buffer_size: int | None = None
