"""Forecasts that need no network, one file a family.

Each has `check(options)` and `forecast(history, **options)`; or, where it learns from earlier dates and their outcomes,
`fit(outcomes, **options)`, which gives an object with `forecast(history, members)`.

What makes a family unfit for a config is told before anything is made: `NEEDS_MEMBERS`, it learns from other forecasts;
`NEEDS_SEASONS`, from the same season of earlier years; `unit(options)`, its constants are of that unit;
`require(options)`, ConfigError where a package is missing. A family has those of them that concern it.
"""
