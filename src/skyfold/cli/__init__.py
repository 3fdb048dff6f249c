"""The command `skyfold`: `commands` holds a function for each subcommand, `main` the parser and the exit codes."""
