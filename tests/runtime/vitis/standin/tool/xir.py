"""A stand-in for the vendor's xir: a compiled file as its Python module shows it, told in a JSON file.

Return types are the vendor's (sets where it returns sets, lower-case data types), and so is what happens on a
mistake: the process aborts. Python 3.6 syntax. Environment: STANDIN_ANSWERS is the folder with graph.json.
"""
# ruff: noqa: UP006, UP035

import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, List, Set


def fatal(text: str) -> None:
    """glog's way to report a mistake."""
    sys.stderr.write(f"F1121 10:20:30.123456  4711 attrs_imp.cpp:61] {text}\n*** Check failure stack trace: ***\n")
    sys.stderr.write("    @     0x7f3a1c0a1f4d  google::LogMessage::Fail()\n")
    sys.stderr.flush()
    os.abort()


class Attributed:
    def __init__(self, told: Dict[str, Any]) -> None:
        self.told: Dict[str, Any] = told.get("attrs", {})

    def has_attr(self, name: str) -> bool:
        return name in self.told

    def get_attr(self, name: str) -> Any:
        if name not in self.told:
            fatal(f"[UNILOG][FATAL][XIR_UNREGISTERED_ATTR] Attrs doesn't contain attribute {name}")
        return self.told[name]


class Tensor(Attributed):
    def __init__(self, told: Dict[str, Any], batch: int = 1) -> None:
        Attributed.__init__(self, told)
        self.name: str = told["name"]
        self.dims: List[int] = [told["dims"][0] * batch] + told["dims"][1:]  # noqa: RUF005
        self.ndim = len(self.dims)
        self.dtype: str = told["dtype"]

    def get_data_size(self) -> int:
        size = 1
        for dim in self.dims:
            size *= dim
        return size


class Subgraph(Attributed):
    def __init__(self, told: Dict[str, Any], children: List[Any]) -> None:
        Attributed.__init__(self, told)
        self.name: str = told["name"]
        self.children = children
        self.inputs: List[Dict[str, Any]] = told.get("inputs", [])
        self.outputs: List[Dict[str, Any]] = told.get("outputs", [])
        self.is_leaf = not children

    def get_name(self) -> str:
        return self.name

    def get_children(self) -> Set[Any]:
        return set(self.children)

    def toposort_child_subgraph(self) -> List[Any]:
        return list(self.children)

    def get_input_tensors(self) -> Set[Tensor]:
        return {Tensor(told) for told in self.inputs}

    def get_output_tensors(self) -> Set[Tensor]:
        return {Tensor(told) for told in self.outputs}


class Graph:
    def __init__(self, told: Dict[str, Any]) -> None:
        self.root = Subgraph({"name": "root"}, [Subgraph(child, []) for child in told["children"]])

    @staticmethod
    def deserialize(path: str) -> "Graph":
        if not Path(path).is_file():
            fatal(f"[UNILOG][FATAL][XIR_FILE_NOT_EXIST] {path} doesn't exist")
        return Graph(json.loads((Path(os.environ["STANDIN_ANSWERS"]) / "graph.json").read_text()))

    def get_root_subgraph(self) -> Subgraph:
        return self.root
