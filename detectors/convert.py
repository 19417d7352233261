"""Turns a checkpoint into what runs it, in a process of its own: ``python -m detectors.convert``.

A ``.pt`` file is a pickle, so loading it runs code. It is loaded here once, after its digest was
checked, and never in the process that watches footage. Only this module and the
benchmark's `naive` loop import ultralytics.
"""

import argparse
import importlib
import importlib.util
import os
import shutil
import sys
import types
from importlib.metadata import version
from pathlib import Path

import openvino  # type: ignore[import-untyped]

from detectors.models import CatalogEntry, Conversion, InstalledModel, converted, optional_package
from detectors.quantize import quantize
from enforcement.errors import ModelError


def convert(
    source: Path, target_dir: Path, entry: CatalogEntry, definitions: Path | None = None
) -> Conversion:
    """Write the files of the entry's export, for pictures of any height and width.

    ``source`` must lie in a folder that may be written to. ``definitions`` is the Python file with
    the classes of its author that its pickle names, if it names any. Raises ModelError if a
    quantised network finds something else than it should.
    """
    allow_ultralytics(source.parent)
    if definitions is not None:
        _define(definitions)
    tools = {tool: version(tool) for tool in entry.converted_with}
    target_dir.mkdir(parents=True, exist_ok=True)
    match entry.export:
        case "onnx-f32":
            onnx = optional_package("onnx")
            network = onnx.load(_exported(source, entry, format="onnx", simplify=False))
            # Among what ultralytics notes there is the time: the digest would change with it.
            network.ClearField("metadata_props")
            onnx.save(network, target_dir / "model.onnx")
        case "openvino-f32":
            (xml,) = _exported(source, entry, format="openvino").glob("*.xml")
            shutil.move(xml, target_dir / "model.xml")
            shutil.move(xml.with_suffix(".bin"), target_dir / "model.bin")
        case "openvino-bf16":
            exact = _as_f32(source, entry)
            network = openvino.Core().read_model(exact.xml)
            # The weights are those of f32, the results are not: the digest must tell them apart.
            network.set_rt_info(entry.export, ["sightline", "export"])
            openvino.save_model(network, target_dir / "model.xml", compress_to_fp16=False)
        case "openvino-int8":
            exact = _as_f32(source, entry)
            agreement = quantize(exact, entry, target_dir)
            return Conversion(tools=tools, agreement=agreement)
    return Conversion(tools=tools)


def _exported(source: Path, entry: CatalogEntry, **how: str | bool) -> Path:
    """What ultralytics makes of the checkpoint, beside it: a file or a folder."""
    from ultralytics import YOLO  # type: ignore[attr-defined]  # after the environment is set

    return Path(YOLO(source).export(imgsz=entry.input_px, dynamic=True, half=False, **how))


def _as_f32(source: Path, entry: CatalogEntry) -> InstalledModel:
    """The same checkpoint in f32, in a folder beside it."""
    exact = entry.model_copy(update={"export": "openvino-f32"})
    folder = source.parent / "f32"
    return converted(exact, folder, convert(source, folder, exact))


def allow_ultralytics(scratch: Path) -> None:
    """Make ultralytics importable: it installs nothing, and writes into ``scratch`` only."""
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_CONFIG_DIR"] = str(scratch)
    _stand_in_for_torchvision()


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


def _define(definitions: Path) -> None:
    """Run the file and give its classes to ``__main__``.

    A network that was trained by a script names its author's classes as that script's own, and
    their code is needed to trace it.
    """
    spec = importlib.util.spec_from_file_location("checkpoint_definitions", definitions)
    if spec is None or spec.loader is None:
        raise ImportError(f"{definitions.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {name: value for name, value in vars(module).items() if isinstance(value, type)}
    vars(sys.modules["__main__"]).update(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="checkpoint, already verified")
    parser.add_argument("target_dir", type=Path, help="where the converted files go")
    parser.add_argument("--entry", required=True, help="its entry in the catalog, as JSON")
    parser.add_argument("--definitions", type=Path, help="Python file with the classes it needs")
    given = parser.parse_args()
    entry = CatalogEntry.model_validate_json(given.entry)
    try:
        conversion = convert(given.source, given.target_dir, entry, given.definitions)
    except ModelError as error:
        sys.exit(str(error))
    told = given.target_dir / "conversion.json"
    told.write_text(conversion.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
