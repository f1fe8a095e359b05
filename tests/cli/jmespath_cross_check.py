#!/usr/bin/python3
"""--query against the reference implementation, Debian's python3-jmespath: the same answer for every case of the table and
for thousands of generated expressions. Arguments: the program jmespath_eval, then optionally a seed and a number.
"""
import json
import os
import random
import subprocess
import sys

try:
    import jmespath
except ImportError:
    print("skipped: python3-jmespath is not installed")
    sys.exit(77)

NAMES = ["a", "b", "c", "n", "s", "list", "\"x y\"", "missing"]
LITERALS = ["`1`", "`0`", "`2.5`", "`true`", "`null`", "`[1, 2]`", "`{\"a\": 1}`", "'x'", "'abc'", "''", "`\"b\"`"]
NO_TRUTH = ["'x'", "'abc'", "'a'", "`2`", "`[1, 2]`", "`null`", "`{\"a\": 1}`"]
DATA = [
    {"a": {"b": {"c": [1, 2, 3]}, "n": 5}, "b": [{"a": 1, "s": "x"}, {"a": 2, "s": "abc"}, {"a": 2}], "n": 3, "s": "abc", "c": None,
     "list": [3, 1, 2], "x y": {"a": "q"}},
    [{"a": 1, "b": ["x", "y"], "n": 2.5}, {"a": 0, "b": [], "n": -1}, {"a": None, "c": {"a": {"b": 1}, "b": [1]}}, 7, "s", [1, [2, [3]]], None],
    {"list": [[1, 2], [3, [4]], 5, []], "a": [], "b": {}, "n": 0, "s": "", "c": [{"a": "b"}, {"a": "a"}, {"a": "c"}], "x y": True},
    {"a": {"a": {"a": {"a": 1}}}, "list": ["b", "a", "c", "abc"], "s": "äö", "n": [1.5, 2, -3], "b": [True, False, None, 0, ""], "c": "x"},
]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one_of(self, *makers):
        return self.random.choice(makers)()

    def name(self):
        return self.random.choice(NAMES)

    def number(self):
        return str(self.random.randint(-4, 4))

    def slice(self):
        part = lambda: self.random.choice(["", self.number()])
        step = self.random.choice(["", ":", ":1", ":2", ":-1", ":-2"])
        return f"[{part()}:{part()}{step}]"

    def bracket(self, depth):
        return self.one_of(lambda: f"[{self.number()}]", self.slice, lambda: "[*]", lambda: "[]", lambda: f"[?{self.expression(depth - 1)}]")

    def call(self, depth):
        inner = lambda: self.expression(depth - 1)
        one = ["abs", "avg", "ceil", "floor", "keys", "length", "max", "min", "reverse", "sort", "sum", "to_array", "to_number", "to_string",
               "type", "values", "not_null"]
        return self.one_of(
            lambda: f"{self.random.choice(one)}({inner()})", # To Python, true is 1.
            lambda: f"contains({self.one_of(inner, lambda: 'list')}, {self.random.choice(NO_TRUTH)})",
            lambda: f"{self.random.choice(['sort_by', 'max_by', 'min_by'])}({inner()}, &{inner()})", lambda: f"map(&{inner()}, {inner()})",
            lambda: f"join({inner()}, {inner()})", lambda: f"{self.random.choice(['starts_with', 'ends_with'])}({inner()}, {inner()})",
            # The reference checks the type of the first argument only.
            lambda: f"merge({inner()}, {{k: {inner()}}})", lambda: f"not_null({inner()}, {inner()})")

    def chain(self, depth):
        text = self.one_of(self.name, self.name, lambda: "@", lambda: "*", lambda: self.bracket(depth), lambda: self.call(depth))
        for _ in range(self.random.randint(0, 3)):
            # After an index the reference takes a slice for no projection.
            if text.endswith("]") and not text.endswith(("[]", "*]")):
                text += "." + self.name()
            text += self.one_of(lambda: "." + self.name(), lambda: self.bracket(depth), lambda: self.bracket(depth), lambda: "." + self.several(depth))
        # Only at the end: the reference ends the projection of x.* (not of *, not of x[*]) after one more name.
        return text + self.random.choice(["", "", "", ".*"])

    def several(self, depth):
        parts = [self.expression(depth - 1) for _ in range(self.random.randint(1, 3))]
        if self.random.random() < 0.5:
            return "[" + ", ".join(parts) + "]"
        return "{" + ", ".join(f"k{number}: {part}" for number, part in enumerate(parts)) + "}"

    def expression(self, depth):
        if depth <= 0:
            return self.one_of(self.name, self.name, lambda: "@", lambda: self.random.choice(LITERALS))
        binary = lambda: f"{self.expression(depth - 1)} {self.random.choice(['==', '!=', '<', '<=', '>', '>=', '||', '&&', '|'])} {self.expression(depth - 1)}"
        return self.one_of(lambda: self.chain(depth), lambda: self.chain(depth), lambda: self.chain(depth), binary, binary,
                           lambda: "!" + self.expression(depth - 1), lambda: f"({self.expression(depth - 1)})", lambda: self.several(depth),
                           lambda: self.random.choice(LITERALS))


def reference(given, expression):
    """The reference's answer. Where it dies of Python's own errors it has none: these expressions are left out."""
    try:
        return {"result": jmespath.search(expression, given)}
    except jmespath.exceptions.JMESPathError as error:
        return {"error": str(error)}
    except (TypeError, ValueError, AttributeError, KeyError):
        return None


def same(left, right):
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) or isinstance(right, float):
        return isinstance(left, (int, float)) and isinstance(right, (int, float)) and abs(left - right) < 1e-9
    return left == right


def ask(program, questions):
    lines = "".join(json.dumps({"given": given, "expression": expression}) + "\n" for given, expression in questions)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def questions_of_table():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "jmespath_cases.json")) as file:
        return [(suite["given"], case["expression"]) for suite in json.load(file) for case in suite["cases"]]


def differs(expected, got):
    if "error" in expected or "error" in got:
        return ("error" in expected) != ("error" in got)
    return not same(expected["result"], got["result"])


# What only one of the two refuses, on purpose: a trailing comma and & outside of a call are no part of the grammar; a wrong
# function or number of arguments is found here even where nothing would be evaluated.
STRICTER = ("&a", "length(a,)", "n[1 2]", "jobs[*].lenght(n)", "a[99999999999999999999]", "merge(o, n)")


def main():
    program = sys.argv[1]
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 20000
    generator = Generator(seed)
    questions = [q for q in questions_of_table() if q[1] not in STRICTER]
    questions += [(generator.random.choice(DATA), generator.expression(3)) for _ in range(count)]
    expected = [reference(*question) for question in questions]
    answers = ask(program, questions)
    compared, errors, wrong = 0, 0, 0
    for (given, expression), wanted, got in zip(questions, expected, answers):
        if wanted is None:
            continue
        compared += 1
        errors += "error" in wanted
        if differs(wanted, got):
            wrong += 1
            if wrong <= 20:
                print(f"{expression}\n  of {json.dumps(given)[:200]}\n  reference: {json.dumps(wanted)[:300]}\n  here:      {json.dumps(got)[:300]}")
    print(f"{compared} expressions compared with python3-jmespath {jmespath.__version__} (seed {seed}): {errors} errors in both, {wrong} differences")
    sys.exit(1 if wrong or compared < count // 2 else 0)


if __name__ == "__main__":
    main()
