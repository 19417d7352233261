"""Turns a checkpoint into OpenVINO IR, in a process of its own: ``python -m detectors.convert``.

A ``.pt`` file is a pickle, so loading it runs code. It is loaded here once, after its digest was
checked, and never in the process that watches footage. Only this module imports ultralytics.
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import types
from importlib.metadata import version
from pathlib import Path


def convert(source: Path, target_dir: Path, input_px: int) -> dict[str, str]:
    """Write ``model.xml`` and ``model.bin`` (f32, free height and width) into ``target_dir``.

    ``source`` must lie in a folder that may be written to. Returns the versions of the tools.
    """
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_CONFIG_DIR"] = str(source.parent)
    _stand_in_for_torchvision()
    from ultralytics import YOLO  # type: ignore[attr-defined]  # after the environment is set

    exported = Path(
        YOLO(source).export(format="openvino", imgsz=input_px, dynamic=True, half=False)
    )
    (xml,) = exported.glob("*.xml")
    target_dir.mkdir(parents=True, exist_ok=True)
    shutil.move(xml, target_dir / "model.xml")
    shutil.move(xml.with_suffix(".bin"), target_dir / "model.bin")
    return {tool: version(tool) for tool in ("ultralytics", "torch", "openvino")}


def _stand_in_for_torchvision() -> None:
    """Let ultralytics start where torchvision cannot (a CUDA build beside a CPU torch).

    ultralytics uses nothing of it but ``ops.nms``, of which it has its own version.
    """
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        from ultralytics.utils.nms import TorchNMS

        stand_in, ops = types.ModuleType("torchvision"), types.ModuleType("torchvision.ops")
        stand_in.__dict__.update(ops=ops, __version__=version("torchvision"))
        ops.__dict__.update(nms=TorchNMS.nms)
        sys.modules.update({"torchvision": stand_in, "torchvision.ops": ops})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="checkpoint, already verified")
    parser.add_argument("target_dir", type=Path, help="where model.xml and model.bin go")
    parser.add_argument("--input-px", type=int, required=True)
    given = parser.parse_args()
    tools = convert(given.source, given.target_dir, given.input_px)
    (given.target_dir / "tools.json").write_text(json.dumps(tools), encoding="utf-8")


if __name__ == "__main__":
    main()
