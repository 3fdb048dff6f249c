"""A package, so that its conftest stands beside that of `tests`: from faults.conftest import Project."""
