from skyfold.competitions.arctic_sea_ice.contest import PLUGIN as PLUGIN
