"""The house rules that a machine can check: imports go down, torch stays out of light rooms, sizes, types, names."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import noisystudent

SOURCE = Path(noisystudent.__file__).parent

# From bottom to top: a room may import rooms before it, and modules of its own.
ROOMS = (
    "errors",
    "randomness",
    "settings",
    "runtime",
    "artifacts",
    "sharing",
    "data",
    "noise",
    "corruptions",
    "models",
    "losses",
    "predictions",
    "selection",
    "reporting",
    "evaluation",
    "labeling",
    "suites",
    "training",
    "config",
    "choosing",
    "cost",
    "measuring",
    "rounds",
    "api",
    "demonstration",
    "verbs",
    "cli",
)
WITHOUT_TORCH = (
    "errors",
    "randomness",
    "settings",
    "artifacts",
    "sharing",
    "data",
    "predictions",
    "selection",
    "reporting",
    "config",
    "choosing",
    "cost",
)
MODULES = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if (path.name not in ("__main__.py",) and path.parent != SOURCE) or path.stem in ROOMS
)
LONGEST_MODULE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 9
THE_LOOP = ("training/loop.py", "fit")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def functions_of(tree: ast.AST):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def read(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def test_every_module_is_in_a_known_room():
    assert {room_of(path) for path in MODULES} == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only(path):
    rank = ROOMS.index(room_of(path))
    for name in imports_of(read(path)):
        if name.startswith("noisystudent."):
            imported = name.split(".")[1]
            if imported in ROOMS:
                assert ROOMS.index(imported) <= rank, f"{room_of(path)} imports {imported}, which lies above it"


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(path) in WITHOUT_TORCH or path.name == "settings.py"], ids=str
)
def test_light_rooms_do_not_import_torch(path):
    heavy = {name.split(".")[0] for name in imports_of(read(path))} & {"torch", "torchvision", "timm"}
    assert not heavy


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "module",
    [
        "noisystudent",
        "noisystudent.commands.main",
        "noisystudent.config",
        "noisystudent.pseudo_labels.selection",
        "noisystudent.choosing",
        "noisystudent.cost.text",
        "noisystudent.reporting.page",
    ],
)
def test_importing_the_light_rooms_leaves_torch_unloaded(module):
    assert run_python(f"import sys, {module}; print('torch' in sys.modules)") == "False\n"


def test_help_does_not_even_load_the_settings():
    code = "import sys; from noisystudent.commands.main import main; main(['--help']); print('pydantic' in sys.modules)"
    assert run_python(code).endswith("False\n")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE
    for function in functions_of(read(path)):
        lines = function.end_lineno - function.lineno + 1
        allowed = 100 if (path.relative_to(SOURCE).as_posix(), function.name) == THE_LOOP else LONGEST_FUNCTION
        assert lines <= allowed, f"{function.name} has {lines} lines"
        arguments = function.args
        count = len([a for a in arguments.args if a.arg not in ("self", "cls")]) + len(arguments.kwonlyargs)
        assert count <= MOST_ARGUMENTS, f"{function.name} takes {count} arguments"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_public_functions_say_what_they_do_and_take_no_bags(path):
    tree = read(path)
    assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
            for function in functions_of(node):
                assert function.args.kwarg is None, f"{function.name} takes **kwargs"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_the_runtime_reads_the_environment_and_nothing_is_unpickled(path):
    text = path.read_text()
    if room_of(path) != "runtime":
        assert "os.environ" not in text
        assert "getenv" not in text
    for node in ast.walk(read(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            assert called not in ("pickle.load", "pickle.loads", "yaml.load", "joblib.load")
            if called == "torch.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("weights_only") == "True"
            if called == "np.load":
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("allow_pickle") == "False"


def test_no_room_hides_a_public_name():
    # A loaded submodule becomes an attribute of the package, and would stand in for a function of its name.
    assert not set(noisystudent.__all__) & {room_of(path) for path in MODULES}


def test_public_names_exist_and_are_documented():
    for name in noisystudent.__all__:
        assert inspect.getdoc(getattr(noisystudent, name)), name
    assert set(noisystudent.__all__) <= set(dir(noisystudent))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        noisystudent.nonsense  # noqa: B018
