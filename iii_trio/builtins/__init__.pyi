from iii_trio.builtins._spec import BuiltinSpec as BuiltinSpec
from iii_trio.builtins._spec import Resources as Resources
from iii_trio.builtins._spec import Serve as Serve
from iii_trio.builtins._specs import BUILTINS as BUILTINS

__all__ = ["BUILTINS", "BuiltinSpec", "Resources", "Serve"]
