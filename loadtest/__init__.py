"""Load on offramp: simulated on a virtual clock (`replay`), and sent to a real server (`open_loop`)."""
