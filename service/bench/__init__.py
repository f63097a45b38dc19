"""What `offramp bench` measures: one file a question."""
