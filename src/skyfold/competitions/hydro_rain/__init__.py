from skyfold.competitions.hydro_rain.contest import build as build
