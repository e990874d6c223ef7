from iii_trio.builtins._specs import BUILTINS as BUILTINS
from iii_trio.builtins._specs import BuiltinSpec as BuiltinSpec
from iii_trio.builtins._specs import Resources as Resources
from iii_trio.builtins._specs import Serve as Serve

__all__ = ["BUILTINS", "BuiltinSpec", "Resources", "Serve"]
