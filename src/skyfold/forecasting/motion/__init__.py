"""How rain moves between radar frames, and where that carries it next."""
