from skyfold.competitions.cloud_cover.contest import PLUGIN as PLUGIN
