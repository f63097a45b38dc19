"""What the `offramp` command can do, one module a command: NAME, HELP, add_arguments, run."""
