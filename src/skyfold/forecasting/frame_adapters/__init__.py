"""How a network sees what is known on a date, and what its output means: one file a view.

Each has `check(options)`, ConfigError on an option that will not do, and `build(**options)`, which gives a
`FrameAdapter`.
"""
