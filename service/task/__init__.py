"""What a model answers: one file a task, from its tensor to what a client reads, and how far two answers agree."""
