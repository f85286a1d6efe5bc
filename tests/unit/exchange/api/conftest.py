from tests.factories.fixtures import daemon, house

__all__ = ["daemon", "house"]
