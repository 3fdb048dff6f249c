"""What may stand in a config, and what is refused; `files` reads them.

Five kinds, told apart by their keys: a data set (`data` alone), a run (`model`), a blend (`runs`), a table of models
(`models`), forecasts beside each other (`forecasts`). Each may name another file as `base:`, whose keys it takes over
unless it sets them itself (paths are relative to the file).
"""
