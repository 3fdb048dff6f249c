"""What may stand in a config, and what is refused; `files` reads them.

Five kinds, told apart by their keys: a data set (`data` only), a run (`model`), a blend (`runs`), a table of models
(`models`), forecasts beside each other (`forecasts`). Files may have bases; members may be written inline
(docs/configs.md).
"""
