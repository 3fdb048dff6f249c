"""Results in a notebook, as arrays, tables and pictures: what `import skyfold` offers. Nothing here writes results, but
`prepare`, `run` and `Results.write_submission`; decoded masks are cached as by every command."""
