"""What an engine tells of itself in numbers."""

import attrs


@attrs.frozen(kw_only=True)
class EngineStatistics:
    """Counts at one moment; all zero (but the engine's own functions) when idle.

    Attributes:
        functions: functions of workers; those of the engine are not counted.
        parked: bindings that wait for a provider.
        invocations: calls in flight.
        opened: calls ever opened.
        bad_frames: frames dropped because they could not be read.
        dropped_fires: void calls that nobody could run.
        late_answers: answers for calls that were settled already, or not the
            answering worker's.
        denied: what access rules refused: connections, calls, registrations.
        refused_calls: calls not begun because too many were pending, or too much waits
            for their callee.
        refused_registrations: functions, trigger types and triggers that were one too
            many of their worker, also before it told who it is.
        timers: moments that the engine still waits for.
    """

    workers: int
    functions: int
    trigger_types: int
    triggers: int
    parked: int
    invocations: int
    channels: int
    opened: int
    bad_frames: int
    dropped_fires: int
    late_answers: int
    denied: int
    refused_calls: int
    refused_registrations: int
    timers: int
