"""Which tests are run for a mutant, and in which order."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ehg_tasks.testing.mutants import Mutant

Reach = Mapping[str, tuple[float, list[str]]]  # test -> its seconds, and the functions that it reaches

SUITE = [
    "tests/lifecycle",
    "tests/access/test_guards.py",
    "tests/access/test_functions.py::test_a_role_calls_a_function_in_sql",
    "tests/access/test_functions.py::test_a_role_calls_every_function_of_the_engine",
    "tests/access/test_functions.py::test_read_task_contract_obeys_row_level_security",
    "tests/access/test_relations.py::test_a_role_on_a_relation_in_sql",
    "tests/access/test_relations.py::test_the_engines_tables_are_closed_to_every_role",
    "tests/access/test_relations.py::test_no_policy_gives_access_to_the_engines_tables",
    "tests/access/test_specification.py::test_the_functions_create_contracts_with_the_defaults_of_the_table",
    "tests/reliability/test_poison.py",
]  # the tests of behavior that use SQL alone
LONG = "tests/lifecycle/test_state_machine.py"  # against a model: too long to repeat
# What they compare is in the catalog, not in what the database does. Nothing compares a function's source.
SPECIFICATION = [
    "tests/access/test_specification.py::test_the_columns_are_as_specified",
    "tests/access/test_specification.py::test_the_constraints_are_as_specified",
    "tests/access/test_specification.py::test_the_policies_are_as_specified",
    "tests/access/test_specification.py::test_the_triggers_are_as_specified",
    "tests/access/test_grants.py::test_the_grants_are_those_of_the_matrix",
    "tests/access/test_functions.py::test_every_search_path_is_fixed",
    "tests/access/test_functions.py::test_only_entry_points_of_the_engine_run_with_their_owners_rights",
]
ACCESS = re.compile(r"tests/access/test_(relations|functions)")
VIEWS = re.compile(
    r"tests/(lifecycle/test_(maintenance|registered_agents|names|neighbors)|access/test_relations)"
)
# They call functions that are not counted: inlined ones, and through connections that stay open.
NEIGHBORS = "tests/lifecycle/test_neighbors.py"
ROWS = re.compile(r"tests/(lifecycle/test_(rules|create|queue|trigger|registered_agents)|access/test_guards)")


def behavior(mutant: Mutant, reach: Reach) -> list[str]:
    """The tests of behavior that could notice a mutant, those of the fewest functions first."""
    if mutant.kind == "constraint":
        chosen = [test for test in reach if ROWS.match(test)]
    elif mutant.kind in ("policy", "privilege", "rls", "role", "security"):
        chosen = [test for test in reach if ACCESS.match(test)]
        chosen = _about(mutant.target, chosen) or chosen
    elif mutant.line is None and mutant.kind != "trigger":
        chosen = [test for test in reach if VIEWS.match(test)]
    else:
        called = (
            re.search(r"EXECUTE FUNCTION ([\w.]+\(\))", mutant.undo) if mutant.kind == "trigger" else None
        )
        function = called[1] if called else mutant.target
        chosen = [test for test, (_, reached) in reach.items() if function in reached or NEIGHBORS in test]
    return sorted(chosen, key=lambda test: (len(reach[test][1]), reach[test][0]))


def _about(target: str, tests: list[str]) -> list[str]:
    """The tests that name a function or relation, and those of the whole engine."""
    name = target.partition("(")[0].rpartition(" ")[2]
    short = name.rpartition(".")[2]
    return [test for test in tests if f"-{name}-" in test or f"-{short}-" in test or "engine" in test]
