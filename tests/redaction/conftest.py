from tests.support.state import clock, guard, store

__all__ = ["clock", "guard", "store"]
