from skyfold.competitions.leeds_sea_ice.contest import build as build
