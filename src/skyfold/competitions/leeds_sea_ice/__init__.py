from skyfold.competitions.leeds_sea_ice.contest import PLUGIN as PLUGIN
