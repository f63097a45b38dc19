"""Running stages: sessions, buffers and the state that walkers carry from stage to stage."""
