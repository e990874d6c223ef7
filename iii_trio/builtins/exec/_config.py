"""The configuration of the exec worker. Pure."""

import attrs


@attrs.frozen(kw_only=True)
class ExecConfig:
    """Which commands run.

    Attributes:
        exec: shell commands, one after the other; all but the last must succeed.
        watch: patterns of files; a change of one runs everything again.
    """

    exec: tuple[str, ...]
    watch: tuple[str, ...] | None = None
