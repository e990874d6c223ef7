from iii_trio.app._app import App as App
from iii_trio.app._app import ReloadReport as ReloadReport
from iii_trio.app._app import open_app as open_app
from iii_trio.app._cli import main as main
from iii_trio.app._config import AppConfig as AppConfig
from iii_trio.app._config import ListenerConfig as ListenerConfig
from iii_trio.app._config import WorkerEntry as WorkerEntry
from iii_trio.app._load import load_config as load_config
from iii_trio.app._server import serve as serve
from iii_trio.app._supervise import RestartPolicy as RestartPolicy
from iii_trio.app._supervise import supervise as supervise

__all__ = [
    "App",
    "AppConfig",
    "ListenerConfig",
    "ReloadReport",
    "RestartPolicy",
    "WorkerEntry",
    "load_config",
    "main",
    "open_app",
    "serve",
    "supervise",
]
