"""Which walkers run next, and at what price. Pure: no threads, no I/O, the clock is passed in."""
