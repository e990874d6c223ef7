"""Which running listener is which in another configuration. Pure.

Listeners have no names: their keys count them in the order of the file. One that comes or
goes before others must not make others of them.
"""

from collections.abc import Callable, Mapping, Sequence

from iii_trio.app._config import LISTENER, WorkerEntry

__all__ = ["new_keys"]

_Same = Callable[[WorkerEntry, WorkerEntry], bool]


def new_keys(
    running: Mapping[str, WorkerEntry], wanted: Sequence[WorkerEntry]
) -> dict[str, str]:
    """Match running listeners with wanted ones: same settings, address, or key.

    Args:
        running: entries by their keys; all but listeners are ignored.
        wanted: of the other configuration; likewise.

    Returns:
        The new key of each running listener, by its old one. One that is not wanted any
        more gets a key that no wanted one has.
    """
    left = {key: one for key, one in running.items() if one.kind == LISTENER}
    open_keys = {one.key: one for one in wanted if one.kind == LISTENER}
    taken = set(open_keys)
    keys: dict[str, str] = {}
    for same in (_in_all, _in_settings, _in_address, _in_key):
        for key, entry in list(open_keys.items()):
            old = next((k for k, one in left.items() if same(one, entry)), None)
            if old is not None:
                keys[old] = key
                del left[old], open_keys[key]
    spare = (f"{LISTENER}#{number}" for number in range(1, len(running) + len(wanted)))
    free = (key for key in spare if key not in taken)
    return keys | {old: next(free) for old in left}


def _in_all(one: WorkerEntry, other: WorkerEntry) -> bool:
    return one == other


def _in_settings(one: WorkerEntry, other: WorkerEntry) -> bool:
    return bool(one.config == other.config)


def _in_address(one: WorkerEntry, other: WorkerEntry) -> bool:
    address = (other.config.host, other.config.port)
    return other.config.port != 0 and (one.config.host, one.config.port) == address


def _in_key(one: WorkerEntry, other: WorkerEntry) -> bool:
    return one.key == other.key
