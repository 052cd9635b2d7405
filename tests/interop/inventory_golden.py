"""What the real NorFab makes of inventories: writes src/inventory/golden.json, or compares with it.

    pip install norfab==0.25.0 pydantic
    python tests/interop/inventory_golden.py [--write]

Each case is a set of files, and the inventory of some workers as `norfab.core.inventory` merges it.
Without --write it fails if the file says anything else than the package does.

Left out, as we differ on purpose: a key such as `on`, which its YAML turns into `true`; booleans in
lists beside 0 and 1, which are the same to Python; keys that stand twice.
"""

import json
import os
import pathlib
import random
import sys
import tempfile

GOLDEN = pathlib.Path(__file__).parents[2] / "src/inventory/golden.json"
ENVIRONMENT = {"HOST": "10.0.0.1", "PORT": "5555", "ON": "yes"}

SCALARS = """
text: plain text
quoted: "5"
whole: 42
negative: -7
octal: 0755
hexadecimal: 0x1F
fraction: 1.5
exponent: 1.0e+3
yes_: yes
no_: No
on_: ON
off_: off
true_: True
null_: null
tilde: ~
empty:
version: 1.2.3
address: 10.0.0.1
time_like: "12:30"
block: |
  one
  two
folded: >
  one
  two
list: [a, [b, {c: d}]]
anchor: &anchor {x: 1, y: [1, 2]}
alias: *anchor
merged: {<<: *anchor, y: 3}
"y": letter
5: number
"""

TEMPLATE = """{# a comment #}
{% set names = ["a", "b"] -%}
hosts:
{% for name in names %}
  {{ name }}-{{ loop.index }}:
    address: {{ env.HOST }}
    port: {{ env["PORT"] }}
    upper: {{ name | upper }}
    other: "{{ env.get('NOT_THERE', 'default') }}{{ env.NOT_THERE }}"
{% endfor %}
{% if env.ON == "yes" %}switched: true{% else %}switched: false{% endif %}

joined: "{{ names | join('-') }}"
default: {{ env.NOT_THERE | default("d", true) }}
"""


def value(rng, depth):
    kind = rng.randrange(8 if depth else 5)
    if kind < 5:
        return rng.choice([0, 1, 2, 2.0, 1.5, "a", "b", "", None])
    if kind < 6:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {rng.choice("abcd"): value(rng, depth - 1) for _ in range(rng.randrange(4))}


def mapping(rng):
    return {rng.choice("abcdef"): value(rng, 3) for _ in range(rng.randrange(1, 5))}


def cases():
    yield {"inventory.yaml": "workers:\n  '*': [scalars.yaml]\n", "scalars.yaml": SCALARS}, ["w"]
    yield {"inventory.yaml": "workers:\n  '*': [t.yaml]\n", "t.yaml": TEMPLATE}, ["w"]
    inventory = "workers:\n{% for n in [1, 2] %}  w-{{ n }}: [{n: {{ n }}, host: {{ env.HOST }}}]\n{% endfor %}"
    yield {"inventory.yaml": inventory}, ["w-1", "w-2", "w-3"]
    rng = random.Random(4)
    globs = ["*", "w-*", "w-1", "w-[12]", "w-[!1]", "?-1", "*1", "x", "W-*"]
    for _ in range(40):
        files = {f"{n}.yaml": json.dumps(mapping(rng)) for n in range(3)}
        workers = {}
        for glob in rng.sample(globs, rng.randrange(1, 5)):
            items = [rng.choice([*files, mapping(rng)]) for _ in range(rng.randrange(1, 4))]
            workers[glob] = items
        files["inventory.yaml"] = json.dumps({"workers": workers})
        yield files, ["w-1", "w-2", "y-1", "x", "none"]


def merged(files, names):
    from norfab.core.inventory import NorFabInventory

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            pathlib.Path(folder, name).write_text(text)
        for name in names:
            # Read anew for each worker: its merge changes the objects it was given.
            inventory = NorFabInventory(path=str(pathlib.Path(folder, "inventory.yaml")))
            try:
                found[name] = inventory[name]
            except KeyError:
                found[name] = None
    return found


def main():
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    golden = [
        {"files": files, "workers": merged(files, names)} for files, names in cases()
    ]
    text = json.dumps({"environment": ENVIRONMENT, "cases": golden}, indent=1) + "\n"
    if "--write" in sys.argv:
        GOLDEN.write_text(text)
    elif GOLDEN.read_text() != text:
        sys.exit(f"{GOLDEN} does not say what this NorFab does; look at it with --write")
    print(f"{len(golden)} cases")


if __name__ == "__main__":
    main()
