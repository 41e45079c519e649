"""The page that people see: tabs, what they do, and the one queue that they share."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _WithoutHints(MetaPathFinder):
    """Lets Gradio be imported without writing hints for editors.

    Whenever it is imported, it reads the source of each of its components, builds the text of the
    .pyi file beside it, and compares: half of the time until the page is up (Gradio 6.31). Its
    package brings the very same files along.
    """

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "gradio.component_meta":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            vars(module)["create_or_modify_pyi"] = lambda *_: None

        spec.loader.exec_module = exec_module
        return spec


if "gradio" not in sys.modules:
    sys.meta_path.insert(0, _WithoutHints())
