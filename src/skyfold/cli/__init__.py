"""The command `skyfold`; one file a subcommand.

Each offers `add_arguments(parser)` and `run(given)`; its docstring is its help. Nothing but `run` may import a
framework, so that `--help` answers at once.
"""
