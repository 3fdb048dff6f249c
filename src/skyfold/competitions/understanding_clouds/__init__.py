from skyfold.competitions.understanding_clouds.contest import PLUGIN as PLUGIN
