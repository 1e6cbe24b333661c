"""Renders Triton's model repository from the model registry, each kind of version under names of its own.

    python -m deploy.triton.render --registry .loreline/models --output triton-models --backend python

`scorer` and `student` have a folder for each version of kinds kar and unictr-student; a version of kind unictr has
models of its own, `unictr-VERSION-NETWORK`. Both backends serve the same exported files. `onnxruntime` is in the
production image; `python` is for servers that carry only the Python backend. Rendering again adds what is new and
writes nothing else: a polling server loads anew whatever was written to.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.triton.network_models import check_networks, render_networks
from deploy.triton.repository_files import BACKENDS, CannotRender, check_backend
from deploy.triton.scorer_models import check_scorers, render_scorers
from services.model_registry import ADAPTED_KINDS, Manifest, ModelRegistry, NoSuchVersion

__all__ = ["BACKENDS", "CannotRender", "main", "render"]


def render(registry: ModelRegistry, output: Path, backend: str, versions: Sequence[str] = ()) -> list[Path]:
    """Render versions (all, when none is named) and return the folders of the models that ranking asks.

    Nothing is written before everything is checked. Raises CannotRender, and OSError when `output` cannot be written.
    """
    check_backend(backend)
    manifests = _manifests(registry, versions)
    of_features = [[one for one in manifests if one.kind == kind] for kind in ADAPTED_KINDS]
    of_texts = [(one, registry.folder(one.version)) for one in manifests if not one.has_adaptor]
    for group in filter(None, of_features):
        check_scorers(registry, group, output, backend)
    of_networks = [check_networks(manifest, folder, output, backend) for manifest, folder in of_texts]
    scorers = [render_scorers(registry, group, output, backend) for group in of_features if group]
    networks = [path for models in of_networks for path in render_networks(models, output, backend)]
    return [*scorers, *networks]


def _manifests(registry: ModelRegistry, versions: Sequence[str]) -> list[Manifest]:
    try:
        manifests = [registry.manifest(version) for version in versions] or registry.versions()
    except NoSuchVersion as error:
        raise CannotRender(str(error)) from error
    except ValueError as error:  # a manifest, or the name of a folder
        raise CannotRender(f"{registry.root} cannot be read: {error}") from error
    if not manifests:
        raise CannotRender(f"no model version is registered in {registry.root}: train one first")
    return manifests


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exits with code 2 when it cannot render."""
    parser = argparse.ArgumentParser(description="Render Triton's model repository from the model registry.")
    parser.add_argument("--registry", type=Path, required=True, help="the model registry's folder")
    parser.add_argument("--output", type=Path, required=True, help="the model repository to write")
    parser.add_argument("--backend", choices=BACKENDS, default="onnxruntime")
    parser.add_argument("--version", action="append", default=[], help="a version to render; all when left out")
    given = parser.parse_args(arguments)
    try:
        models = render(ModelRegistry(given.registry), given.output, given.backend, given.version)
    except (CannotRender, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    for model in models:
        versions = sorted((path.name for path in model.iterdir() if path.name.isdecimal()), key=int)
        sys.stdout.write(f"{model}: versions {', '.join(versions)}\n")


if __name__ == "__main__":
    main()
