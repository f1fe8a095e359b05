#!/usr/bin/python3
"""Reads the tree and fails on what the compiler cannot see: arrows that point up, forbidden words in the pure parts, files
and functions that grow, promises in docs/acceptance.md without a test. `tidy_test.py` checks; `--self-test` checks the checks.
"""
import ast
import hashlib
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
EXCEPTIONS = os.path.join(ROOT, "tests", "tidy", "exceptions.txt")
MAX_FILE, MAX_FUNCTION = 500, 70
OUR_FOLDERS = ("common", "secrets", "proto", "controller", "storage", "agent", "batchai", "cli", "simulate", "trainyard")

# Folder → what its files may include of ours (prefixes). The longest matching folder counts; main.cc files see everything of their program.
MAY_INCLUDE = {
    "common": ["common/"],
    "secrets": ["secrets/", "common/"],
    # convert fills the core's events and reads its views: plain structs, no behaviour.
    "proto": ["proto/", "common/", "trainyard/v1/", "controller/core/event.h", "controller/core/view.h", "controller/core/rows.h"],
    "batchai": ["batchai/", "common/", "trainyard/v1/"],
    "controller/core": ["controller/core/", "common/"],
    "controller/plan": ["controller/plan/", "controller/core/", "common/"],
    # Replays by the very core and plan of the controller.
    "simulate": ["simulate/", "controller/plan/", "controller/core/", "common/"],
    "storage": ["storage/", "controller/core/", "common/"],
    "controller/loop": ["controller/loop/", "controller/plan/", "controller/core/", "storage/store.h", "common/"],
    # The edge posts the core's events and reads committed state on the loop's thread; it never sees the core itself.
    "controller/edge": ["controller/edge/", "controller/loop/", "controller/config.h", "controller/core/event.h", "controller/core/view.h",
                        "controller/core/rows.h", "controller/core/state.h", "controller/core/lookup.h", "controller/core/accounting.h", "proto/", "secrets/", "common/", "trainyard/v1/",
                        # Why a job waits is asked of the plan.
                        "controller/plan/why.h",
                        # Series of counters are no state: they pass the loop by (docs/decisions/0030).
                        "storage/counter_store.h",
                        # The translator (docs/decisions/0025).
                        "batchai/job_file.h", "batchai/cluster_file.h"],
    "agent/core": ["agent/core/", "common/"],
    "agent/exec": ["agent/exec/", "common/"],
    # FUSE servers run under shims in cgroups of their own, like everything else that outlives the agent.
    "agent/volumes": ["agent/volumes/", "agent/exec/files.h", "agent/exec/shim.h", "agent/exec/cgroup.h", "common/"],
    "agent/containers": ["agent/containers/", "agent/exec/", "common/"],
    "agent/probe": ["agent/probe/", "common/"],
    "agent/doctor": ["agent/doctor/", "agent/exec/", "agent/probe/", "common/"],
    "agent/edge": ["agent/edge/", "proto/", "common/", "trainyard/v1/"],
    "agent/loop": ["agent/", "secrets/", "common/"],
    "cli": ["cli/", "batchai/", "proto/", "simulate/", "common/", "trainyard/v1/"],
}
# Folder → outside headers that only it and its like may use: (pattern of the header, folders where it is fine).
ONLY_IN = [
    (r"^sqlite3\.h$", ["storage", "tests", "bench"]),
    (r"^sodium\.h$", ["secrets", "controller/edge/secret_values.cc"]),
    (r"^grpc(pp)?/", ["controller/edge", "controller/main.cc", "agent/edge", "agent/main.cc", "proto", "cli", "tests", "bench"]),
    (r"^google/protobuf/", ["controller/edge", "controller/main.cc", "agent/edge", "proto", "batchai", "cli", "tests", "bench"]),
    (r"^boost/asio", ["controller/loop", "controller/edge", "controller/main.cc", "agent/loop", "agent/volumes", "agent/exec", "agent/containers", "agent/edge",
                      "agent/probe", "agent/main.cc", "tests", "bench"]),
]

PURE = ("controller/core/", "controller/plan/", "agent/core/", "simulate/")
BANNED_IN_PURE = [
    (r"\b\w+_clock\b|\bclock\s*\(|\bclock_gettime\b", "a clock: time comes in with the event"),
    (r"\bchrono\b", "a clock: time comes in with the event"),
    (r"(?<![\w.>:])(?:std::)?time\s*\(", "a clock: time comes in with the event"),
    (r"\b\w*random\w*\b|\bmt19937\w*|\brand\s*\(", "random numbers: the same events must give the same answers"),
    (r"\bstd::(thread|jthread|async|future|atomic\w*)\b", "threads"),
    (r"\b\w*mutex\w*\b", "a mutex"),
    (r"\bgrpc\w*|\bprotobuf\b", "gRPC or protobuf"),
    (r"\bsqlite\w*", "SQLite"),
    (r"\basio\b", "Asio"),
    (r"\bspdlog\b|\bstd::c(out|err)\b|\bprintf\s*\(", "logging"),
    (r"\bunordered_\w+", "an unordered container: iteration must have one order"),
    (r"\bgetenv\b|\bfstream\b|\bfopen\b", "the outside world"),
]


def files():
    listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.split("\n")
    else:
        names = [os.path.relpath(os.path.join(folder, name), ROOT) for folder, _, found in os.walk(ROOT) for name in found]
    return sorted(n for n in set(names) if n and os.path.isfile(os.path.join(ROOT, n)) and not n.startswith("build/"))


def read(name):
    with open(os.path.join(ROOT, name), errors="replace") as file:
        return file.read()


def is_cpp(name):
    return name.endswith((".cc", ".h", ".cu"))


def without_comments(text):
    """C++ with comments and the inside of string literals blanked; lines stay where they are."""

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0)) if match.group(0)[0] == "/" else '""'

    # A raw string, a string, a character, a block comment, a line comment.
    return re.sub(r'R"(\w*)\((?:.|\n)*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<!\w)\'(?:\\.|[^\'\\\n])\'|/\*(?:.|\n)*?\*/|//[^\n]*', blank, text)


def includes(text):
    return [(number, match.group(1), match.group(2)) for number, line in enumerate(text.split("\n"), 1)
            if (match := re.match(r'\s*#include\s*([<"])([^>"]+)[>"]', line))]


def include_faults(name, text):
    if name.endswith("main.cc") and name.count("/") == 1:
        allowed = None
    else:
        folder = max((f for f in MAY_INCLUDE if name.startswith(f + "/")), key=len, default=None)
        allowed = MAY_INCLUDE[folder] if folder else None
    for number, _, header in includes(text):
        if allowed is not None and header.split("/")[0] in OUR_FOLDERS and "/" in header:
            if not any(header.startswith(prefix) for prefix in allowed):
                yield f"{name}:{number}: may not include {header} (who may include whom: docs/ARCHITECTURE.md)"
        for pattern, places in ONLY_IN:
            if re.search(pattern, header) and name.startswith(OUR_FOLDERS) and not any(name.startswith(place) for place in places):
                yield f"{name}:{number}: {header} does not belong here"


def banned_faults(name, text):
    if not name.startswith(PURE):
        return
    code = without_comments(text)
    for number, line in enumerate(code.split("\n"), 1):
        for pattern, what in BANNED_IN_PURE:
            if re.search(pattern, line):
                yield f"{name}:{number}: {what} has no place in the pure parts: {line.strip()}"


def cpp_functions(text):
    """(name, lines) of the functions in clang-formatted C++: from the line that opens the body to the brace at its indent."""
    lines = without_comments(text).split("\n")
    for number, line in enumerate(lines):
        if not line.rstrip().endswith("{") or re.match(r"\s*(if|for|while|switch|else|do|namespace|struct|class|enum|union|try|catch|extern|case|}|\[)\b", line):
            continue
        head = line
        start = number
        while ")" not in head.split("{")[0] and start > 0 and start > number - 12 and not re.search(r"[;{}]\s*$", lines[start - 1]):
            start -= 1
            head = lines[start] + " " + head
        while start > 0 and (head.count(")") > head.count("(") or lines[start - 1].rstrip().endswith(",") or
                             re.match(r"\s*:\s", lines[start])):  # a constructor's members
            start -= 1
            head = lines[start] + " " + head
        match = re.match(r"\s*(?:[\w:&*<>,\[\]~\s]+[\s&*])?([~\w:]+(?:operator\S+)?)\s*\(", head)
        if not match or re.match(r"\s*(if|for|while|switch|else|return|namespace|struct|class|enum)\b", head):
            continue
        indent = re.match(r"\s*", lines[start]).group(0)
        end = next((n for n in range(number + 1, len(lines)) if lines[n].startswith(indent + "}")), None)
        if end is not None:
            yield match.group(1), end - start + 1


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.end_lineno - node.lineno + 1


def sizes(name, text):
    """(what, lines, limit) of a file and its functions."""
    yield name, text.count("\n"), MAX_FILE
    for function, lines in (python_functions(text) if name.endswith(".py") else cpp_functions(text)):
        yield f"{name}:{function}", lines, MAX_FUNCTION


def ratchet_faults(measured, exceptions):
    """`exceptions`: what → lines allowed, above the limit. It may only shrink: entries that are too generous are faults."""
    seen = {}
    for what, lines, limit in measured:
        seen[what] = max(lines, seen.get(what, 0))
        if lines > exceptions.get(what, limit):
            yield f"{what}: {lines} lines, at most {exceptions.get(what, limit)}: split it"
    for what, allowed in exceptions.items():
        if what not in seen:
            yield f"exceptions.txt: {what} does not exist: remove the line"
        elif seen[what] < allowed:
            yield f"exceptions.txt: {what} has {seen[what]} lines now: lower its {allowed}, or remove the line"


def read_exceptions():
    found = {}
    with open(EXCEPTIONS) as file:
        for line in file:
            words = line.split()
            if words and not words[0].startswith("#"):
                found[words[0]] = int(words[1])
    return found


def text_faults(name, text):
    unfinished = r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"
    machine = r"/work/(main|shared)|\.\./shar" + r"ed/|/tmp/t" + r"y/"
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(unfinished, line):
            yield f"{name}:{number}: unfinished work: {line.strip()[:80]}"
        if re.search(machine, line):
            yield f"{name}:{number}: a path of somebody's machine: {line.strip()[:80]}"
    if name.endswith(".h") and not text.startswith("//"):
        yield f"{name}:1: a header opens with what it is, which thread, what it promises"


def acceptance_faults(text, exists, content):
    """Rows `| point | shown by | state |`. A done point names a file in backquotes; `file: "words"` must be in the file."""
    for number, line in enumerate(text.split("\n"), 1):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) < 5 or not cells[-2].startswith("done"):
            continue
        named = re.findall(r'`([\w./-]+/[\w.-]+|\.ci/run)(?: [^`]*)?`(?:: "([^"]+)")?', cells[-3])
        if not named:
            yield f"docs/acceptance.md:{number}: done, but no test or command is named: {cells[1][:60]}"
        for path, words in named:
            if not exists(path):
                yield f"docs/acceptance.md:{number}: done, but {path} does not exist"
            elif words and words not in content(path):
                yield f'docs/acceptance.md:{number}: done, but {path} has no "{words}"'


# The tutorial's files, byte for byte as Batch AI published them.
TUTORIAL = {
    "examples/tutorial/job.json": "d4e62db6f43f3377ed533ea1b9480fb9be35d3f2098a99ac265151f8d79b3cd9",
    "examples/tutorial/commands.txt": "d06abc400d8e683e1f577ab7a14298874841b509de74bc8e8b17ed1b682e0612",
}


def tutorial_faults():
    for name, expected in TUTORIAL.items():
        with open(os.path.join(ROOT, name), "rb") as file:
            if hashlib.sha256(file.read()).hexdigest() != expected:
                yield f"{name}: is not byte-identical with Batch AI's"


def format_faults(names):
    sources = [n for n in names if is_cpp(n)]
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *sources], cwd=ROOT, capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in done.stderr.split("\n") if "clang-format-violations" in line})
    for name in wrong:
        yield f"{name}: run clang-format -i {name}"


def check_tree():
    names = files()
    faults, measured = [], []
    for name in names:
        if not (is_cpp(name) or name.endswith((".py", ".proto", ".sh", ".md", ".txt", ".json", "CMakeLists.txt")) or "." not in os.path.basename(name)):
            continue
        text = read(name)
        if not name.startswith("examples/tutorial/"):
            faults += text_faults(name, text)
        if is_cpp(name):
            faults += include_faults(name, text)
            faults += banned_faults(name, text)
        if is_cpp(name) or name.endswith(".py"):
            measured += sizes(name, text)
    faults += ratchet_faults(measured, read_exceptions())
    faults += acceptance_faults(read("docs/acceptance.md"), lambda p: os.path.exists(os.path.join(ROOT, p)), read)
    faults += tutorial_faults()
    faults += format_faults(names)
    return len(names), faults


def expect(condition, what):
    if not condition:
        raise SystemExit(f"self-test: {what}")


def self_test():
    expect(list(include_faults("controller/core/x.cc", '#include "storage/store.h"\n')), "an arrow that points up")
    expect(list(include_faults("controller/core/x.cc", "#include <sqlite3.h>\n")), "SQLite outside of storage")
    expect(not list(include_faults("controller/plan/x.cc", '#include "controller/core/view.h"\n')), "an allowed arrow")
    expect(list(banned_faults("agent/core/x.cc", "auto now = std::chrono::steady_clock::now();")), "a clock in a pure part")
    expect(list(banned_faults("controller/plan/x.cc", "std::unordered_map<int, int> m;")), "an unordered container")
    expect(not list(banned_faults("controller/core/x.cc", "// no clock, no mutex\nint x = 1; /* random */\n")), "comments are not code")
    expect(not list(banned_faults("controller/edge/x.cc", "std::mutex m;")), "only the pure parts are pure")
    body = "".join("  f();\n" for _ in range(80))
    expect(dict(cpp_functions("Status Core::step(int a,\n                  int b) {\n" + body + "}\n")) == {"Core::step": 83}, "a long function")
    expect(dict(cpp_functions("A::A(int x)\n    : x_(x),\n      y_(2) {\n  f();\n}\n")) == {"A::A": 5}, "a constructor")
    expect(list(ratchet_faults([("a.cc", 501, 500)], {})), "a file that is too long")
    expect(not list(ratchet_faults([("a.cc", 501, 500)], {"a.cc": 501})), "a named exception")
    expect(list(ratchet_faults([("a.cc", 501, 500)], {"a.cc": 600})), "an exception may only shrink")
    expect(list(ratchet_faults([], {"gone.cc": 600})), "an exception for nothing")
    expect(list(text_faults("a.h", "int x;")), "a header without a word")
    expect(list(text_faults("a.cc", "// TO" + "DO later")), "unfinished work")
    table = '| p | `tests/none.py` | done |\n| q | `tests/a.cc`: "words" | done |\n| r | later | open |\n| s | nothing | done |\n'
    found = list(acceptance_faults(table, lambda p: p == "tests/a.cc", lambda p: "other"))
    expect(len(found) == 3, f"three broken promises, found {found}")
    print("self-test: the checks catch what they should")


def main():
    if "--self-test" in sys.argv:
        return self_test()
    count, faults = check_tree()
    for fault in faults:
        print(fault)
    print(f"tidy: {count} files, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
