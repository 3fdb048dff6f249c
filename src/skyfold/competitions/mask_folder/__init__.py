from skyfold.competitions.mask_folder.contest import PLUGIN as PLUGIN
