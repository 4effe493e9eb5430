"""A clock that stands until a test turns it."""


class SetClock:
    """What ``clock=`` takes; ``now`` in seconds, to be set."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now
