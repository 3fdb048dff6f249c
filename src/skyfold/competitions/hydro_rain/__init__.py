from skyfold.competitions.hydro_rain.contest import PLUGIN as PLUGIN
