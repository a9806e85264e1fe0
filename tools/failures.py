"""Which errors a database function raises, read from its source and that of the functions it calls.

The parsers are PostgreSQL's own (pglast). What a message says is known as far as it consists of constants;
"…" stands for the rest. Constants are followed from a call into the function that it calls:
`check_size('objective', …)` raises "objective is too large: … bytes, the limit is 65536".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from pglast import ast, parse_plpgsql, parse_sql
from pglast.enums import A_Expr_Kind, FunctionParameterMode
from pglast.visitors import Visitor
from psycopg import Connection

UNKNOWN = "…"
OTHER_TYPES = re.compile(
    r"^( RETURNS (?:SETOF )?| +v_\w+ (?:constant )?)(?:ehg_tasks|public)\.\w+(?:\[\])?", re.MULTILINE
)
# As the parser numbers them:
ERRCODE, MESSAGE = 0, 1  # options of RAISE
ASSIGNMENT = 3  # a query that is an assignment; 0 is a statement, 2 an expression
Scope = Mapping[str, str]  # the parameters of a function whose value is a constant


class Failure(NamedTuple):
    """An error that a function raises: its SQLSTATE and its message."""

    code: str
    message: str


@dataclass(frozen=True)
class Function:
    """The source of a function in SQL or PL/pgSQL."""

    definition: str

    @cached_property
    def statement(self) -> Any:
        """The CREATE FUNCTION statement."""
        return tree(self.definition)[0].stmt

    @cached_property
    def body(self) -> Any:
        """A parsed SQL body, or a PL/pgSQL body in the parser's JSON."""
        options = {option.defname: option.arg for option in self.statement.options}
        if options["language"].sval == "sql":
            return tree(options["as"][0].sval)
        # The parser knows PostgreSQL's types only, and leaves out what a constant record is set to.
        return parse_plpgsql(
            OTHER_TYPES.sub(lambda m: m[1] + ("jsonb" if "constant" in m[1] else "record"), self.definition)
        )

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The input parameters and their defaults."""
        inputs = (FunctionParameterMode.FUNC_PARAM_DEFAULT, FunctionParameterMode.FUNC_PARAM_IN)
        return {p.name: p.defexpr for p in self.statement.parameters or () if p.mode in inputs}

    @cached_property
    def assignments(self) -> dict[str, list[Any]]:
        """The expressions that are assigned to each variable."""
        found: dict[str, list[Any]] = {}
        for query in queries(self.body):
            if query["parseMode"] >= ASSIGNMENT:
                name, _, value = query["query"].partition(":=")
                found.setdefault(name.strip(), []).append(expression(value))
        return found


def tree(sql: str) -> Any:
    """The parse tree of SQL statements, whose nodes all have the attributes that the grammar gives them."""
    return parse_sql(sql)


def queries(node: Any) -> Iterator[dict[str, Any]]:
    """The SQL of all statements, expressions and assignments below a node of a PL/pgSQL body."""
    if isinstance(node, dict) and "PLpgSQL_expr" in node:
        yield node["PLpgSQL_expr"]
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from queries(child)


def expression(text: str) -> Any:
    """A parsed expression."""
    return tree(f"select {text}")[0].stmt.targetList[0].val


@cache
def parsed(query: str, mode: int) -> Any:
    """A parsed statement, expression or assignment."""
    if mode >= ASSIGNMENT:
        query = query.partition(":=")[2]
    return tree(f"select {query}" if mode else query)


class Calls(Visitor):
    """Collects the calls of functions in schema ehg_tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[Any, ...]]] = []

    def visit_FuncCall(self, _ancestors: Any, node: Any) -> None:  # noqa: N802
        """Collect a call: its function and its arguments."""
        name = called(node)
        if name.startswith("ehg_tasks."):
            self.found.append((name, node.args or ()))


def called(node: Any) -> str:
    """The name of a called function."""
    return ".".join(part.sval for part in node.funcname)


class Source:
    """The functions of a database that has the engine."""

    def __init__(self, connection: Connection[Any]) -> None:
        self.functions = {
            name: Function(definition)
            for name, definition in connection.execute(
                "select n.nspname || '.' || p.proname, pg_get_functiondef(p.oid)"
                " from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
                " join pg_language l on l.oid = p.prolang and l.lanname in ('sql', 'plpgsql')"
                " where n.nspname in ('public', 'ehg_tasks') and p.prokind = 'f'"
            )
        }

    def failures(self, name: str) -> list[Failure]:
        """The errors that a function raises, by SQLSTATE."""
        return sorted(set(self._failures(name, {})))

    def _failures(self, name: str, scope: Scope) -> Iterator[Failure]:
        function = self.functions[name]
        if isinstance(function.body, tuple):
            yield from self._called(function, function.body, scope)
        else:
            yield from self._statement(function, function.body, scope)

    def _statement(self, function: Function, node: Any, scope: Scope) -> Iterator[Failure]:
        """The errors of a part of a PL/pgSQL body."""
        if isinstance(node, list):
            for child in node:
                yield from self._statement(function, child, scope)
        elif isinstance(node, dict):
            for kind, child in node.items():
                if kind == "PLpgSQL_stmt_block" and "exceptions" in child:
                    handled = caught(child["exceptions"])
                    inner = self._statement(function, child["body"], scope)
                    yield from (failure for failure in inner if failure.code not in handled)
                    yield from self._statement(function, child["exceptions"], scope)
                elif kind == "PLpgSQL_stmt_raise":
                    yield from self._raised(function, child, scope)
                elif kind == "PLpgSQL_expr":
                    yield from self._called(function, parsed(child["query"], child["parseMode"]), scope)
                else:
                    yield from self._statement(function, child, scope)

    def _raised(self, function: Function, statement: dict[str, Any], scope: Scope) -> Iterator[Failure]:
        options = {
            option["PLpgSQL_raise_option"]["opt_type"]: expression(next(queries(option))["query"])
            for option in statement.get("options", ())
        }
        if ERRCODE in options and isinstance(options[ERRCODE], ast.A_Const):
            [code] = self._texts(function, options[ERRCODE], scope)
            for message in self._texts(function, options[MESSAGE], scope, follow=True):
                # What stands before it is the place of a contract in an array.
                yield Failure(code, re.sub(rf"^{UNKNOWN}(?=\w)", "", message))

    def _called(self, function: Function, tree: Any, scope: Scope) -> Iterator[Failure]:
        """The errors of the functions that a piece of SQL calls."""
        calls = Calls()
        calls(tree)
        for name, given in calls.found:
            parameters = self.functions[name].parameters
            values = dict(parameters) | dict(zip(parameters, given, strict=False))
            texts = {
                parameter: self._texts(function, value, scope)
                for parameter, value in values.items()
                if value is not None
            }
            constants = {
                parameter: text[0]
                for parameter, text in texts.items()
                if len(text) == 1 and UNKNOWN not in text[0]
            }
            yield from self._failures(name, constants)

    def _texts(self, function: Function, node: Any, scope: Scope, *, follow: bool = False) -> list[str]:
        """What an expression may be, as text. `follow`: also if a variable holds it."""

        def texts(node: Any) -> list[str]:
            return self._texts(function, node, scope, follow=follow)

        of: Any = node  # `match` narrows `node`, and the stubs say that any part may be missing
        match node:
            case ast.A_Const(val=ast.String()):
                return [of.val.sval]
            case ast.A_Const(val=ast.Integer()):
                return [str(of.val.ival)]
            case ast.TypeCast():
                return texts(of.arg)
            case ast.ColumnRef(fields=(ast.String(),)):
                name = of.fields[0].sval
                if name in scope:
                    return [scope[name]]
                if follow and name in function.assignments:
                    assigned = (self._texts(function, value, scope) for value in function.assignments[name])
                    return [text for texts in assigned for text in texts]
            case ast.A_Expr(kind=A_Expr_Kind.AEXPR_OP, name=(ast.String(sval="||"),)):
                return [a + b for a, b in itertools.product(texts(of.lexpr), texts(of.rexpr))]
            case ast.A_Expr(kind=A_Expr_Kind.AEXPR_OP, name=(ast.String(sval="*"),)):
                [a], [b] = texts(of.lexpr), texts(of.rexpr)
                return [str(int(a) * int(b))] if UNKNOWN not in (a, b) else [UNKNOWN]
            case ast.CaseExpr():
                results = [case.result for case in of.args] + [of.defresult] * bool(of.defresult)
                found = [text for result in results for text in texts(result)]
                return [""] if "" in found else found  # what may be missing is left out
            case ast.CoalesceExpr():
                return [text for argument in of.args for text in texts(argument)]
            case ast.SubLink():
                return texts(of.subselect.targetList[0].val)
            case ast.FuncCall() if called(of) == "format":
                template, *values = of.args
                alternatives = [self._texts(function, value, scope) for value in values]
                [text] = texts(template)
                return [text.replace("%s", "{}").format(*one) for one in itertools.product(*alternatives)]
            case ast.FuncCall() if called(of).startswith("ehg_tasks."):
                other = self.functions[called(of)]
                if isinstance(other.body, tuple):
                    return self._texts(other, other.body[0].stmt.targetList[0].val, {})
        return [UNKNOWN]


def caught(handlers: Any) -> set[str]:
    """The SQLSTATEs that the handlers of a block catch for good, without raising an error themselves."""
    return {
        condition["PLpgSQL_condition"]["condname"]
        for handler in handlers["PLpgSQL_exception_block"]["exc_list"]
        if "PLpgSQL_stmt_raise" not in str(handler)
        for condition in handler["PLpgSQL_exception"]["conditions"]
    }
