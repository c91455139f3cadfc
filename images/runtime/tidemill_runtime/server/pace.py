"""Whether a request is to wait for others, learned from when requests come and when they are answered.

Two kinds of waiting: `Pace` for models whose call costs enough to wait for requests that are not there yet, `Crowd`
for models so quick that only what the event loop has read already is worth waiting for.
"""

_WEIGHT = 0.125  # of the newest arrival in what is learned
_PATIENCE = 3.0  # an arrival that is late by this many usual gaps is not expected any more
_NEAR_SECONDS = 50e-6  # from an answer to a request that had been there before it: what reading it takes, and some more
_STREAK = 6  # requests one behind the other: now it is worth finding out whether they come together
_TOGETHER, _ALONE = 3.0, 1.5  # requests in a turn of the event loop: what is expected at first, and when it is over
_REST = 48  # requests after a suspicion that was wrong


class Pace:
    """Learns how soon the next request comes while others are there, and says how long to wait for it.

    Times are seconds of any monotonic clock; `cost` is what a call of the model costs whatever its rows.
    """

    def __init__(self, cost: float, max_delay: float) -> None:
        self._cost = cost
        self._max_delay = max_delay
        self._gap = cost  # from the last arrival or the last answers, whichever was later, to the next arrival
        self._crowd = 0.0  # share of the arrivals that found others waiting or being answered
        self._last = -float("inf")

    def arrived(self, now: float, *, others: bool) -> None:
        """Note a request; alone, it says nothing about gaps in a burst."""
        if others:
            self._gap += _WEIGHT * (min(now - self._last, self._cost) - self._gap)
        self._crowd += _WEIGHT * (others - self._crowd)
        self._last = now

    def answered(self, now: float) -> None:
        """Note the end of a call: those who got their answers may be back soon."""
        self._last = now

    def wait_until(self, waiting: int, since: float) -> float:
        """Return until when to wait for more than `waiting` requests; `since` is when the model became free for them.

        One more request spares a call and costs all that wait the time until it comes.
        """
        if waiting * self._gap >= self._cost * self._crowd:
            return since
        return min(self._last + _PATIENCE * self._gap, since + self._max_delay)


class Crowd:
    """Learns whether requests to a quick model come several at a time.

    Alone, a request is best answered when it is read. A loop that has read several in a turn answers them together for
    half of the price. That requests come as soon as the last one is answered raises the suspicion; gathering proves it.
    """

    def __init__(self) -> None:
        self._ended = -float("inf")
        self._streak = 0  # requests that were there before the last one was answered
        self._is_gathering = False
        self._size = 0.0  # requests in a turn
        self._is_proven = False
        self._rest = 0  # requests until the next suspicion

    def arrived(self, now: float) -> bool:
        """Note a request; return whether it is to wait for what else the loop has read."""
        if self._is_gathering:
            return True
        if self._rest:
            self._rest -= 1
            return False
        self._streak = self._streak + 1 if now - self._ended < _NEAR_SECONDS else 0
        if self._streak >= _STREAK:
            self._is_gathering = True
            self._is_proven = False
            self._size = _TOGETHER
        return self._is_gathering

    def answered(self, now: float) -> None:
        """Note an answer."""
        self._ended = now

    def gathered(self, requests: int) -> None:
        """Note how many requests a turn of the loop had."""
        self._is_proven |= requests > 1
        self._size += _WEIGHT * (requests - self._size)
        if self._size < _ALONE and self._is_gathering:
            self._is_gathering = False
            self._streak = 0
            self._rest = 0 if self._is_proven else _REST
