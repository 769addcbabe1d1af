"""The rules of the house that a machine can check; each test names every offender."""

import ast
import functools
import graphlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath

import pytest

import noisystudent

SOURCE = Path(noisystudent.__file__).parent
PROJECT = Path(__file__).parents[2] / "pyproject.toml"

# From bottom to top: a package may import packages before it, and its own modules.
PACKAGES = (
    "errors",
    "duration",
    "random_streams",
    "settings",
    "yaml_text",
    "allowed_values",
    "settings_input",
    "runtime",
    "artifacts",
    "data",
    "noise",
    "models",
    "losses",
    "display",
    "evaluation",
    "pseudo_labels",
    "results",
    "findings",
    "reporting",
    "training",
    "layers",
    "condition",
    "noise_conditions",
    "student_conditions",
    "conditions",
    "lengths",
    "run_settings",
    "config",
    "cost",
    "pipeline",
    "parts",
    "api",
    "estimator",
    "commands",
)
WITHOUT_TORCH = (
    "errors",
    "duration",
    "random_streams",
    "settings",
    "yaml_text",
    "artifacts",
    "data",
    "display",
    "evaluation/measures",
    "pseudo_labels/predictions",
    "pseudo_labels/selection",
    "results",
    "findings",
    "reporting",
    "layers",
    "condition",
    "noise_conditions",
    "student_conditions",
    "conditions",
    "lengths",
    "run_settings",
    "config",
    "cost",
    "api",
)
LONGEST_MODULE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 9
THE_LOOP = ("training/loop.py", "fit")
PLAIN_SIGNATURES = "api/"  # arguments with a documented line each: long, but there is nothing to understand


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed, by its path below the package."""
    paths = sorted(SOURCE.rglob("*.py"))
    names = {path.relative_to(SOURCE).as_posix(): path for path in paths}
    return {
        name: ast.parse(path.read_text()) for name, path in names.items() if name not in ("__init__.py", "__main__.py")
    }


def package_of(name: str) -> str:
    return name.split("/")[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> list[str]:
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    return imported


def functions_of(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function's body, without signature and docstring."""
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return function.end_lineno - first.lineno + 1


def is_light(name: str) -> bool:
    """Whether a module must load without torch."""
    return name.startswith(WITHOUT_TORCH) or Path(name).name in ("settings.py", "results.py", "view.py")


def test_every_module_is_in_a_known_package():
    assert {package_of(name) for name in modules()} == set(PACKAGES)


def test_imports_go_down_only():
    offenders = [
        f"{name} imports {imported}"
        for name, tree in modules().items()
        for imported in imports_of(tree)
        if imported.startswith("noisystudent.")
        and imported.split(".")[1] in PACKAGES
        and PACKAGES.index(imported.split(".")[1]) > PACKAGES.index(package_of(name))
    ]
    assert not offenders


def test_folders_of_the_pipeline_import_in_one_direction():
    imported_by: dict[str, set[str]] = {}
    for name, tree in modules().items():
        if not name.startswith("pipeline/") or name.endswith("__init__.py"):
            continue
        own = name.split("/")[1].removesuffix(".py")
        parts = {path.split(".")[2] for path in imports_of(tree) if path.startswith("noisystudent.pipeline.")}
        imported_by.setdefault(own, set()).update(parts - {own})
    assert {"backbones", "labels", "stages", "budget", "heads"} <= set(imported_by)
    graphlib.TopologicalSorter(imported_by).prepare()  # raises CycleError, which names the circle


def test_light_modules_do_not_import_torch():
    heavy = {"torch", "torchvision", "timm"}
    offenders = [
        f"{name} imports {imported}"
        for name, tree in modules().items()
        if is_light(name)
        for imported in imports_of(tree)
        if imported.split(".")[0] in heavy
    ]
    assert not offenders


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_importing_light_modules_leaves_torch_unloaded():
    light = [
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in modules() if is_light(name)
    ]
    names = ["noisystudent", "noisystudent.commands.main", *(f"noisystudent.{name}" for name in light)]
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(name)\n"
    )
    assert run_python(code) == ""


def test_help_does_not_even_load_the_settings():
    code = "import sys; from noisystudent.commands.main import main; main(['--help']); print('pydantic' in sys.modules)"
    assert run_python(code).endswith("False\n")


def test_modules_stay_small():
    lengths = {name: len((SOURCE / name).read_text().splitlines()) for name in modules()}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_functions_stay_short_and_take_few_arguments():
    offenders = []
    for name, tree in modules().items():
        for function in functions_of(tree):
            is_plain = name.startswith(PLAIN_SIGNATURES)
            lines = length_of(function) if is_plain else function.end_lineno - function.lineno + 1
            allowed = 100 if (name, function.name) == THE_LOOP else LONGEST_FUNCTION
            arguments = [*function.args.args, *function.args.kwonlyargs]
            count = len([argument for argument in arguments if argument.arg not in ("self", "cls")])
            if lines > allowed:
                offenders.append(f"{name}: {function.name} has {lines} lines")
            if count > MOST_ARGUMENTS and not is_plain:
                offenders.append(f"{name}: {function.name} takes {count} arguments")
    assert not offenders


def test_everything_public_is_documented_and_takes_no_bags():
    offenders = [name for name, tree in modules().items() if not ast.get_docstring(tree)]
    for name, tree in modules().items():
        public = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        for node in public:
            if node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                offenders.append(f"{name}: {node.name} has no docstring")
            offenders += [f"{name}: {f.name} takes **kwargs" for f in functions_of(node) if f.args.kwarg is not None]
    assert not offenders


def test_only_the_runtime_reads_the_environment():
    offenders = [
        name
        for name in modules()
        if package_of(name) != "runtime"
        for text in ("os.environ", "getenv")
        if text in (SOURCE / name).read_text()
    ]
    assert not offenders


def test_nothing_is_unpickled():
    offenders = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            refused = called in ("pickle.load", "pickle.loads", "yaml.load", "joblib.load")
            refused |= called == "torch.load" and keywords.get("weights_only") != "True"
            refused |= called == "np.load" and keywords.get("allow_pickle") != "False"
            if refused:
                offenders.append(f"{name}:{node.lineno} calls {called}")
    assert not offenders


def test_no_package_hides_a_public_name():
    # A loaded submodule becomes an attribute of the package, and would stand in for a function of its name.
    assert not (set(noisystudent.__all__) - {"parts"}) & {package_of(name) for name in modules()}  # parts is a module


def test_public_names_exist_and_are_documented():
    assert [name for name in noisystudent.__all__ if not inspect.getdoc(getattr(noisystudent, name))] == []
    assert set(noisystudent.__all__) <= set(dir(noisystudent))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        noisystudent.nonsense  # noqa: B018


def test_every_file_that_is_no_code_is_in_the_wheel():
    patterns = tomllib.loads(PROJECT.read_text())["tool"]["setuptools"]["package-data"]["noisystudent"]
    files = [path.relative_to(SOURCE) for path in SOURCE.rglob("*") if path.is_file()]
    data = [path.as_posix() for path in files if path.suffix not in (".py", ".pyc")]
    assert data
    assert [name for name in data if not any(PurePosixPath(name).match(pattern) for pattern in patterns)] == []
