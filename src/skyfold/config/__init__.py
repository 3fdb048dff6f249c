"""Pydantic models of config files; `files` reads them.

Five kinds, distinguished by their keys: a data set (`data` only), a run (`model`), a blend (`runs`), a table of models
(`models`), forecasts compared with each other (`forecasts`). Files may have bases; members may be written inline
(docs/configs.md).
"""
