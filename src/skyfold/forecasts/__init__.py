"""Forecasts that need no network, one file a family.

Each has `check(options)` and `forecast(history, **options)`; or, where it learns from earlier dates and their outcomes,
`fit(outcomes, **options)`, which gives an object with `forecast(history, members)`.
"""
