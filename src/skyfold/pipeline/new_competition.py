"""Begin a competition of one's own: a commented file, and a config that runs on made-up data at once."""

from __future__ import annotations

import re
from pathlib import Path

from skyfold import plugins
from skyfold.errors import ConfigError
from skyfold.files import write_text
from skyfold.workspace import Workspace

TEMPLATE = plugins.OWN / "competitions" / "_template.py"
CONFIG = """# A small network on made-up data of '{name}', a minute on two cores.
#     skyfold run configs/{name}/demo.yaml
plugins: [../../plugins]
data: {{competition: {name}, name: {name}_demo, folds: {{k: 2}}, sample: {{train: 48, test: 16}}}}
name: demo
image: {{size: [64, 96]}}
model: {{family: plain_unet, options: {{filters: [8, 16, 32], batchnorm_momentum: 0.9}}}}
optimizer: {{learning_rate: 5.0e-3}}
training: {{epochs: 8, batch_size: 4}}
runs: [{{name: unet}}]
"""


def new_competition(name: str, workspace: Workspace) -> list[Path]:
    """Write `plugins/competitions/<name>.py` and `configs/<name>/demo.yaml`; returns both.

    ConfigError where the name is taken or cannot be that of a module, or a file is there already.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ConfigError(f"new competition '{name}': use small letters, digits and _, a letter first.")
    paths = [
        workspace.root / "plugins" / "competitions" / f"{name}.py",
        workspace.root / "configs" / name / "demo.yaml",
    ]
    if there := [path for path in paths if path.exists()]:
        raise ConfigError(f"{there[0]}: is there already. Give the new competition another name.")
    if name in plugins.names("competitions"):
        raise ConfigError(f"new competition '{name}': there is a competition of this name. Give another.")
    title = name.title().replace("_", "")
    code = TEMPLATE.read_text().replace("NAME", name).replace("Template", title)
    for path, text in zip(paths, (code, CONFIG.format(name=name)), strict=True):
        write_text(path, text)
    return paths
