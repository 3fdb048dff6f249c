"""Write a radar composite of ODIM as a listing shows it: the attributes of each group."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

# ODIM_H5 version 2.2, as OPERA and national services write composites; here of 4 x 5 pixels.
ODIM = """
/ Conventions = "ODIM_H5/V2_2"
/what object = "COMP"
/what version = "H5rad 2.2"
/what date = "20100826"
/what time = "001000"
/what source = "ORG:247"
/where projdef = "+proj=laea +lat_0=55.0 +lon_0=10.0 +x_0=1950000.0 +y_0=-2100000.0 +units=m +ellps=WGS84"
/where xsize = 5
/where ysize = 4
/where xscale = 2000.0
/where yscale = 2000.0
/where LL_lon = -10.434576838640398
/where LL_lat = 31.746215319325056
/where UL_lon = -39.5357864125034
/where UL_lat = 67.02283275830867
/where UR_lon = 57.81196475014995
/where UR_lat = 67.62103710275053
/where LR_lon = 29.421038635578032
/where LR_lat = 31.98765027794496
/dataset1/what product = "COMP"
/dataset1/what startdate = "20100826"
/dataset1/what starttime = "000500"
/dataset1/what enddate = "20100826"
/dataset1/what endtime = "001000"
/dataset1/data1/what quantity = "DBZH"
/dataset1/data1/what gain = 0.5
/dataset1/data1/what offset = -32.0
/dataset1/data1/what nodata = 255.0
/dataset1/data1/what undetect = 0.0
"""


def write_odim(path: Path, listing: str, data: dict[str, np.ndarray], minute: int = 10) -> Path:
    """data: by the path of each array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for group, name, text in re.findall(r"^(/\S*) (\w+) = (.*)$", listing, re.M):
            value = np.bytes_(text.strip('"')) if text.startswith('"') else float(text) if "." in text else int(text)
            file.require_group(group).attrs[name] = value
        file["what"].attrs["time"] = np.bytes_(f"{minute // 60:02}{minute % 60:02}00")
        for name, array in data.items():
            packing = {"compression": "gzip", "chunks": True} if array.size > 1000 else {}
            file.create_dataset(name, data=array, **packing)
    return path
