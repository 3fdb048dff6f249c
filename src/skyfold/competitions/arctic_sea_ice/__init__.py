from skyfold.competitions.arctic_sea_ice.contest import build as build
