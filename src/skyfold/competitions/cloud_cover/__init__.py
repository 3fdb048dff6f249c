from skyfold.competitions.cloud_cover.contest import build as build
