"""Forecasts that need no network: one file a family, each with `check(options)` and `forecast(history, **options)`."""
