"""What no linter knows: the tables are complete, the laws stay laws, the documents stay true.

`make gpu-check` runs the tests with "law" in their names: they keep every law inside the subset of
Python that a GPU compiler takes.
"""

import ast
import importlib
import importlib.util
import inspect
import math
import re
import subprocess
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType

import numpy as np
import pytest

import feeds
import kernels
import scanner
from feeds import events
from feeds.tiers import one_tier
from feeds.venue import is_experimental
from feeds.venues import VENUES
from kernels import columns, device
from kernels.compile import _bit_casts
from kernels.compile_cuda import KERNELS
from kernels.laws import METRICS, SCORED
from kernels.rows import features, trades, updates
from scanner.config_source import venues_that_say
from scanner.result import FEATURES
from scanner.sinks import SINKS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (scanner, kernels, feeds)
STAGE = re.compile(r"Stages? [1-8](?: (?:and|to) [1-8])? of 8(?:, simulated)?: \S")
FUNCTION_LINES_MAX = 60
KERNEL_LINES_MAX = 80
FILE_LINES_MAX = 600
# The only modules that may ask the time: the owner of the clock, the emulator's process, which is
# another process with a clock of its own, and what measures how long a command takes.
MAY_READ_TIME = (
    "scanner/run.py", "scanner/commands/", "scanner/doctor.py", "feeds/emulator/__main__.py",
    "benchmarks/",
)  # fmt: skip
TIME_READERS = {
    "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns",
    "process_time", "process_time_ns", "clock_gettime", "clock_gettime_ns",
}  # fmt: skip
VAGUE = {"utils", "util", "common", "helpers", "misc", "queue", "types", "metrics"}


def files(*folders: str) -> list[Path]:
    """Our Python files below the given folders, in order."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


OURS = files("scanner", "kernels", "feeds")
TESTS = files("tests")
ALL = [*OURS, *TESTS, *files("benchmarks", "docs")]
NO_LAWS = {"__init__", "metric", "scalars"}
LAW_FILES = [path for path in files("kernels/laws") if path.stem not in NO_LAWS]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name_of(path))


def functions(module: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(module) if isinstance(node, kinds)]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            found.add(node.module or "")
    return found


def called(path: Path) -> set[tuple[str, int]]:
    """(dotted name, line) of every call of a plain or dotted name."""
    return {
        (ast.unparse(node.func), node.lineno)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    }


def laws() -> list[tuple[ModuleType, ast.FunctionDef]]:
    """Every function of every law file, with its module."""
    found = []
    for path in LAW_FILES:
        module = importlib.import_module(f"kernels.laws.{path.stem}")
        found += [(module, node) for node in tree(path).body if isinstance(node, ast.FunctionDef)]
    return found


LAWS = laws()
EACH_LAW = pytest.mark.parametrize(
    ("module", "law"), LAWS, ids=[f"{m.__name__}.{f.name}" for m, f in LAWS]
)


# Tables.


def members_of(folder: str) -> set[str]:
    """Modules and packages of a folder."""
    found = (ROOT / folder).iterdir()
    return {p.stem for p in found if p.suffix == ".py" or (p / "__init__.py").exists()} - {
        "__init__"
    }


def test_every_venue_stands_in_the_table():
    assert members_of("feeds/venues") == set(VENUES)
    assert {name: venue.NAME for name, venue in VENUES.items()} == {name: name for name in VENUES}


def test_configuration_and_code_agree_which_venues_are_experimental():
    said = {name for name, venue in VENUES.items() if is_experimental(venue)}
    assert said == set(venues_that_say("EXPERIMENTAL"))
    assert {n for n, venue in VENUES.items() if one_tier(venue)} == set(venues_that_say("ONE_TIER"))


def test_every_sink_stands_in_the_table():
    assert members_of("scanner/sinks") == set(SINKS)
    for sink in SINKS.values():
        assert list(inspect.signature(sink.open_sink).parameters)[:2] == ["target", "queue_max"]


def test_every_launch_shape_stands_in_the_device_s_table():
    shapes = device._shapes()
    assert {Path(inspect.getfile(shape)).stem for shape in shapes.values()} == (
        members_of("kernels/cpu")
    )
    assert {shape.__name__ for shape in shapes.values()} == set(shapes)


def test_every_launch_shape_has_a_twin_on_the_other_device():
    host_alone = {
        "sort_by_listing",  # Rows are sorted before they are sent.
        "fold_scales",  # On a GPU the block that cumulates a driver folds its scale.
        "find_fresh",  # On a GPU expire comes first, and observe looks for itself.
        "name_members",  # Of a few notable groups, from the mirror.
        "count_blocks",  # What count_marks is on a GPU: the CPU's rows are counted in blocks.
    }
    device_alone = {"expire", "block_top_k", "count_marks"}  # block_top_k: first pass of top_k.
    assert set(device._shapes()) - host_alone == set(KERNELS) - device_alone
    for name in set(device._shapes()) & set(KERNELS):
        cpu, gpu = device._shapes()[name], KERNELS[name]
        assert cpu.__module__.removeprefix("kernels.cpu.") == (
            gpu.__module__.removeprefix("kernels.gpu.")
        )


def test_every_metric_stands_in_the_table_in_order():
    assert tuple(metric.name for metric in METRICS) == features.METRIC_NAMES
    assert tuple(feature.name for feature in SCORED) == FEATURES


def test_every_metric_reads_columns_that_exist():
    known = {column.name for column in columns.COLUMNS} | {"books"}
    assert {name for metric in (*METRICS, *SCORED) for name in metric.reads} <= known


def test_every_law_is_used():
    used = {
        node.id
        for path in [*files("kernels/blocks", "kernels/cpu", "kernels/rows"), *LAW_FILES]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert {law.name for _, law in LAWS} <= used


def test_every_column_constant_is_described_once():
    described = Counter(column.name for column in columns.COLUMNS)
    assert set(described.values()) == {1}
    named = {name.lower() for name in column_constants()}
    assert set(described) == named


def column_constants() -> list[str]:
    """Names assigned between the comments that head the four blocks of columns."""
    text = (ROOT / "kernels" / "columns.py").read_text()
    block = text[text.index("# int64 columns") : text.index("HALF_LIFE_COUNT")]
    targets = [node.targets[0] for node in ast.parse(block).body if isinstance(node, ast.Assign)]
    return [
        name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
    ]


def test_columns_fill_their_arrays_without_gap_or_overlap():
    counts = {"i8": columns.I64_COUNT, "i4": columns.I32_COUNT, "u1": columns.U8_COUNT,
              "f4": columns.F32_COUNT}  # fmt: skip
    for dtype, count in counts.items():
        rows = [
            row
            for column in columns.COLUMNS
            if column.dtype == dtype
            for row in range(column.first, column.first + column.count)
        ]
        assert sorted(rows) == list(range(count)), dtype
    assert {column.dtype for column in columns.COLUMNS} == set(counts)


def test_a_column_stands_where_its_constant_says():
    for column in columns.COLUMNS:
        assert column.first == getattr(columns, column.name.upper())


def test_validity_bits_equal_their_plain_numbers():
    for bit in columns.Validity:
        if hasattr(columns, bit.name):
            assert getattr(columns, bit.name) == bit.value


@pytest.mark.parametrize(
    ("module", "kind", "names"),
    [
        (updates, events.Kind, tuple(kind.name for kind in events.Kind)),
        (updates, events.Flag, ("LAST", "SNAPSHOT_START", "REJECTED")),
        (updates, events.ListingState, ("LIVE", "HALTED", "EXPIRED")),
    ],
)
def test_kernels_know_the_feeds_numbers(module, kind, names):
    assert {name: getattr(module, name) for name in names} == {name: kind[name] for name in names}


def test_negotiated_prints_are_those_of_the_feeds():
    flags = events.Flag
    assert trades.NOT_LIT == flags.BLOCK | flags.COMBO_LEG | flags.RFQ


# Layout.


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_module_docstring_begins_with_its_stage(path):
    assert STAGE.match(ast.get_docstring(tree(path)) or "")


@pytest.mark.parametrize("path", files("tests/oracles"), ids=name_of)
def test_oracle_imports_nothing_of_ours(path):
    roots = {name.split(".")[0] for name in imported(path) if not name.startswith("tests.oracles")}
    assert not roots & {"scanner", "kernels", "feeds", "tests", "benchmarks"}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_functions_fit_on_a_screen(path):
    limit = KERNEL_LINES_MAX if name_of(path).startswith("kernels/") else FUNCTION_LINES_MAX
    lines = {f.name: (f.end_lineno or 0) - f.lineno + 1 for f in functions(tree(path))}
    assert {name: count for name, count in lines.items() if count > limit} == {}


@pytest.mark.parametrize("path", ALL, ids=name_of)
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


def test_no_module_has_a_name_that_says_nothing():
    assert [name_of(path) for path in OURS if path.stem in VAGUE] == []


def test_every_folder_of_a_package_is_a_package():
    folders = {path.parent for path in OURS}
    assert [name_of(f) for f in sorted(folders) if not (f / "__init__.py").exists()] == []


def test_packages_are_those_of_this_checkout():
    # Distributions named kernels and scanner exist; ours must not be shadowed by them.
    for package in PACKAGES:
        assert Path(package.__file__).parent == ROOT / package.__name__


# Habits.


@pytest.mark.parametrize("path", [*OURS, *TESTS, *files("docs")], ids=name_of)
def test_nothing_prints(path):
    assert [line for name, line in called(path) if name == "print"] == []


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_only_the_owner_of_the_clock_reads_time(path):
    if name_of(path).startswith(MAY_READ_TIME):
        return
    assert [(name, line) for name, line in called(path) if reads_time(name)] == []
    assert not from_time(path) & TIME_READERS


def reads_time(name: str) -> bool:
    owner, _, last = name.rpartition(".")
    if last in ("now", "utcnow", "today"):
        return owner.split(".")[-1] in ("datetime", "date")
    return last in TIME_READERS and (owner == "time" or owner.endswith(("loop", "loop()")))


def from_time(path: Path) -> set[str]:
    """Names imported out of the module time."""
    return {
        alias.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.module == "time"
        for alias in node.names
    }


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_only_the_factory_compiles(path):
    compilers = {"njit", "jit", "vectorize", "guvectorize", "fastmath"}
    factories = ("kernels/compile.py", "kernels/compile_cuda.py", "feeds/bytescan/compile.py")
    if name_of(path) in factories:
        compilers = {"fastmath"}
    names = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    names |= {node.arg or "" for node in ast.walk(tree(path)) if isinstance(node, ast.keyword)}
    names |= {alias for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)
              for alias in (one.name for one in node.names)}  # fmt: skip
    assert not names & compilers


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_no_task_is_left_for_later(path):
    mark = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
    assert mark.findall(path.read_text()) == []


@pytest.mark.parametrize(
    "path", files("kernels/blocks", "kernels/cpu", "kernels/rows", "kernels/laws"), ids=name_of
)
def test_kernel_makes_and_returns_no_array(path):
    # They are compiled without reference counts (docs/decisions/0008-no-reference-counts.md).
    kinds = re.compile(r"NDArray|Columns|Books|Batch|Tickers|Scores|Common|Marks|PerThread|Blocks")
    makers = re.compile(
        r"empty|zeros|ones|full|arange|array|copy|astype|concatenate|where|sort|unique|cumsum"
    )
    for function in functions(tree(path)):
        assert not kinds.search(ast.unparse(function.returns or ast.Constant(None)))
        called = [node.func for node in ast.walk(function) if isinstance(node, ast.Call)]
        names = [ast.unparse(name).split(".")[-1] for name in called]
        assert [name for name in names if makers.match(name)] == []


# Laws.


@EACH_LAW
def test_law_names_its_source_and_works_an_example(module, law):
    text = ast.get_docstring(law) or ""
    assert "Source: " in text
    assert ">>> " in text
    assert law.name in text[text.index(">>> ") :]


@EACH_LAW
def test_law_says_what_its_scalars_are(module, law):
    assert not law.args.vararg
    assert not law.args.kwarg
    assert not law.args.defaults
    kinds = {ast.unparse(arg.annotation) for arg in law.args.args if arg.annotation}
    assert all(arg.annotation for arg in law.args.args)
    assert kinds <= {"float", "int", "bool"}
    assert law.returns is not None
    assert ast.unparse(law.returns) in ("float", "int", "bool")


@EACH_LAW
def test_law_holds_no_float_literal(module, law):
    # A bare literal in arithmetic would turn into double on the GPU.
    literals = [n.value for n in ast.walk(law) if isinstance(n, ast.Constant)]
    assert [value for value in literals if isinstance(value, float)] == []


@EACH_LAW
def test_law_reads_constants_of_one_precision(module, law):
    for name in read_names(law):
        value = getattr(module, name, None)
        if not isinstance(value, FunctionType | ModuleType | type):
            assert isinstance(value, np.float32 | np.int32 | int | None), f"{name} is {value!r}"


@EACH_LAW
def test_law_calls_laws_casts_and_roots_alone(module, law):
    if law.name in _bit_casts():
        return  # The factory puts each target's own in the place of these two.
    casts_and_roots = (np.float32, np.int32, np.int64, math.sqrt)
    for call in (node for node in ast.walk(law) if isinstance(node, ast.Call)):
        function = meant(module, call.func)
        ours = getattr(function, "__module__", "").startswith("kernels.laws.")
        assert ours or function in casts_and_roots, ast.unparse(call)
        assert not call.keywords


def meant(module: ModuleType, expression: ast.expr) -> object:
    """What a plain or dotted name stands for in a module; None for anything else."""
    if isinstance(expression, ast.Attribute):
        return getattr(meant(module, expression.value), expression.attr, None)
    return getattr(module, expression.id, None) if isinstance(expression, ast.Name) else None


@EACH_LAW
def test_law_speaks_the_subset_of_every_compiler(module, law):
    allowed = (
        ast.FunctionDef, ast.arguments, ast.arg, ast.expr_context, ast.Expr, ast.Return, ast.If,
        ast.Assign, ast.Name, ast.Constant, ast.IfExp, ast.Compare, ast.BoolOp, ast.BinOp,
        ast.UnaryOp, ast.Call, ast.Attribute, ast.cmpop, ast.boolop, ast.unaryop, ast.Add, ast.Sub,
        ast.Mult, ast.Div, ast.BitAnd, ast.BitOr, ast.LShift, ast.RShift,
    )  # fmt: skip
    assert [ast.unparse(node) for node in ast.walk(law) if not isinstance(node, allowed)] == []


@pytest.mark.parametrize("path", files("kernels/laws"), ids=name_of)
def test_law_file_imports_numpy_and_other_laws_alone(path):
    outside = {name for name in imported(path) if not name.startswith("kernels.laws")}
    described = {"collections.abc", "dataclasses", "typing"} if path.stem in NO_LAWS else set()
    assert outside <= {"math", "numpy"} | described


def read_names(law: ast.FunctionDef) -> set[str]:
    """Names that a law reads and neither takes nor sets itself."""
    names = [node for node in ast.walk(law) if isinstance(node, ast.Name)]
    own = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    own |= {arg.arg for arg in law.args.args}
    return {node.id for node in names if isinstance(node.ctx, ast.Load)} - own - {"float", "int"}


# Documents.


@cache
def generator() -> ModuleType:
    """docs/generate.py, which is a program and no module of a package."""
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", list(generator().GENERATED), ids=name_of)
def test_generated_document_is_current(path):
    assert path.read_bytes() == generator().GENERATED[path](), "run `make docs`"


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_documents_name_files_that_exist(path):
    pattern = r"\b(?:feeds|kernels|scanner|tests|benchmarks|docs)/[\w./-]*\.(?:py|md|json|svg)\b"
    named = set(re.findall(pattern, path.read_text()))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_links_between_documents_lead_somewhere(path):
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", path.read_text())
    assert [target for target in targets if not (path.parent / target).exists()] == []


def sections(text: str) -> list[str]:
    return re.split(r"(?m)^(?=#{1,6} )", text)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "docs" / "PERFORMANCE.md"], ids=name_of
)
def test_measured_tables_name_the_script_that_measures(path):
    if not path.exists():
        return
    measured = re.compile(r"(?m)^\|.*\d ?(?:ns|us|ms|s|kB|MB|GB|x|M/s|k/s|/s|msg/s)\b.*\|$")
    for section in sections(path.read_text()):
        if measured.search(section):
            scripts = re.findall(r"benchmarks/\w+\.py", section)
            assert scripts, f"numbers without a script: {section.splitlines()[0]}"


# What is handed out.


@cache
def tracked() -> tuple[Path, ...]:
    """Files that git has or would take; without git, every file outside hidden folders."""
    if (ROOT / ".git").exists():
        asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True).stdout
        found = [ROOT / name for name in names.decode().split("\0") if name]
    else:
        found = [p for p in ROOT.rglob("*") if not any(q.startswith(".") for q in p.parts)]
    return tuple(sorted(path for path in found if path.is_file()))


def test_no_file_knows_a_machine_or_a_registry():
    # Written in pieces, because this file is looked at as well.
    machine = rb"(?<![\w.~-])/(?:" + b"|".join((b"work", b"root", b"home", b"Users")) + rb")/\w"
    registry = b"|".join((rb"pypi\." + b"org", b"python" + b"hosted", rb"npmjs\." + b"(?:com|org)"))
    pattern = re.compile(machine + b"|" + registry)
    found = {name_of(p): pattern.findall(p.read_bytes()) for p in tracked()}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_wheel_holds_the_three_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == [package.__name__ for package in PACKAGES]
    assert project["tool"]["mypy"]["packages"] == wheel["packages"]


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "requirements-dev.txt",
        "requirements-gpu-check.txt",
        "requirements-bench.txt",
    ],
)
def test_every_requirement_is_pinned_with_hashes_and_no_address(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    wanted = re.compile(r"[\w.-]+==\S+(?: ; [^#]+?)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line[:60] for line in lines if not wanted.fullmatch(line)] == []
