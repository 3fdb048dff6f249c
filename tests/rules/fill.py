"""Fill holes of fewer pixels than the minimum area."""

import cv2
import numpy as np


def apply(masks, prob, min_areas):
    for k, min_area in enumerate(min_areas):
        for mask in masks[..., k]:
            _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
            small = stats[:, cv2.CC_STAT_AREA] < min_area
            small[0] = False
            mask |= small[labels]
    return masks
