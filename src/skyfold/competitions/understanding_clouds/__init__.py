from skyfold.competitions.understanding_clouds.contest import build as build
