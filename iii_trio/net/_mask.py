"""XOR masking of WebSocket payloads, by the compiled part of ``websockets``."""

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - a platform without the compiled part
    from websockets.utils import apply_mask

__all__ = ["apply_mask"]
