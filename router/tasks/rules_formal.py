"""Rules for tasks whose answer is formal: code, sql, structured, math."""

# ruff: noqa: RUF001 -- words of many languages are the point, look-alike letters included
from __future__ import annotations

import re
from typing import Final

from router.tasks.features import Features
from router.tasks.rule import Rule, phrases

_ERROR = re.compile(r"\b\w{2,40}(?:error|exception)\b:")
_SQL = "select from where join group order insert update table values distinct limit having"
_SQL_WORDS = frozenset(_SQL.split())
_TABLE = re.compile(r"(?:^|\n|\s)[\w.]{2,40} ?\([a-z_]\w{0,40}(?: \w+){0,3}, ?\w")
_FORMULA = re.compile(
    r"\\(?:frac|sqrt|sum|int|begin|cdot|mathbb|le|ge)\b|\$[^$\n]{1,80}\$|\b[a-z]\^\{?\d|[∫∑√≤≥∈π]"
)
_FORMULA_MARKS = "\\$^∫∑√≤≥∈π"
_OPERATION = re.compile(r"\d\s{0,2}[-+*/x×÷^]\s{0,2}[-(]{0,3}\d")
_EQUATION = re.compile(r"\b[a-z]\s{0,2}[-+*/]\s{0,2}[a-z0-9]\s{0,2}=|\d\s{0,2}=\s{0,2}\d")
_FUNCTION_SPEC = ('"parameters"', '"function"', '"args"', '"arguments"', '"input_schema"')
_SCHEMA_MARKS = ('"$schema"', '"type": "object"', '"properties"', "openapi:")
_WORD_PROBLEM_CHARACTERS = 900


def _holds_sql(features: Features) -> bool:
    words = _SQL_WORDS & features.words
    return {"select", "from"} <= words and len(words) > 2 and _statement(features)  # noqa: PLR2004


def _statement(features: Features) -> bool:
    return re.search(r"\b(?:SELECT|INSERT|CREATE|UPDATE|DELETE|select) +\S", features.turn) is not None


def _creates_table(features: Features) -> bool:
    return "create table" in features.lowered or "alter table" in features.lowered


def _lists_tables(features: Features) -> bool:
    text = features.lowered
    return "(" in text and _TABLE.search(text) is not None and not features.holds_code


def _holds_error(features: Features) -> bool:
    text = features.lowered  # few texts have these words, and the pattern begins at every other one
    return ("error:" in text or "exception:" in text) and _ERROR.search(text) is not None


def _specifies_functions(features: Features) -> bool:
    text = features.turn + features.request.system_prompt
    return '"name"' in text and any(mark in text for mark in _FUNCTION_SPEC)


def _holds_schema(features: Features) -> bool:
    text = features.turn + features.request.system_prompt
    return sum(mark in text for mark in _SCHEMA_MARKS) >= 2  # noqa: PLR2004 -- one is in many a JSON


def _word_problem(features: Features) -> bool:
    return (
        features.numbers >= 2  # noqa: PLR2004 -- something to combine
        and features.asks_question
        and features.options < 2  # noqa: PLR2004 -- one bullet is no choice
        and features.speakers == 0
        and len(features.turn) < _WORD_PROBLEM_CHARACTERS
    )


def _holds_formula(features: Features) -> bool:
    text = features.turn  # few texts have one of these marks, and the pattern begins at any word
    return any(mark in text for mark in _FORMULA_MARKS) and _FORMULA.search(text) is not None


def _holds_arithmetic(features: Features) -> bool:
    text = features.lowered
    if features.holds_code:
        return False
    return _OPERATION.search(text) is not None or ("=" in text and _EQUATION.search(text) is not None)


_WRITE = (
    "^write | ^create | ^make | ^give | ^generate | ^build | ^implement | ^develop | ^code | ^program |"
    " ^add | ^show | ^convert | ^port | ^refactor | ^optimize | ^schreib | ^schreibe | ^erstelle | ^écris |"
    " ^crée | ^escribe | ^crea | ^haz | ^scrivi | ^escreva | ^напиши | write a | write me | write an |"
    " how to | how do | how can | 写 | 编写 | 实现 | 書いて"
)
_PROGRAM = (
    "function | script | program | code | class | method | api | regex | algorithm | app | application |"
    " website | bot | extension | server | tool | module | array | string | strings | list of integers |"
    " integer | web page | plugin | component | endpoint | dockerfile | unit test | unit tests | macro |"
    " makefile | skript | programm | funktion | klasse | fonction | classe | programme | función | clase |"
    " programa | funzione | função | скрипт | программу | функцию | код | 代码 | 函数 | 程序 | 脚本 |"
    " 関数 | コード"
)
_LANGUAGES = (
    "python | java | javascript | typescript | c++ | golang | rust | kotlin | swift | php | ruby | perl |"
    " scala | haskell | bash | powershell | html | css | react | vue | angular | node | nodejs | django |"
    " flask | pandas | numpy | pytorch | tensorflow | docker | kubernetes | terraform | ansible | nginx |"
    " git | github | linux | arduino | unity | csharp | matlab | latex | vba | excel | regex | yaml |"
    " dotnet | spring | laravel | selenium | opencv | ffmpeg | cmake | webpack | jquery | tailwind |"
    " svelte | elixir | lua | cobol | fortran | assembly | three js | next js | node js | vb | qt | cuda |"
    " verilog"
)
_DATABASE = (
    "sql | mysql | postgres | postgresql | sqlite | duckdb | bigquery | snowflake | oracle | mariadb |"
    " t sql | plsql | sql server | database | data base | datenbank | base de données | base de datos |"
    " banco de dados | sql abfrage | datenbank* | postgre* | 数据库 | データベース | запрос"
)
_QUERY = (
    "query | queries | table | tables | schema | rows | columns | column | join | rows in | abfrage |"
    " tabelle | tabellen | requête | consulta | tabla | tablas | tabela | tabelas | foreign key |"
    " primary key | stored procedure | cte | ddl | er diagram | primary keys | constraints | 表 | 查询"
)

FORMAL_RULES: Final[tuple[Rule, ...]] = (
    Rule("code", 2.6, "asks for a program", any_of=phrases(_WRITE), with_any_of=phrases(_PROGRAM)),
    Rule("code", 2.5, "names a language or tool of programmers", any_of=phrases(_LANGUAGES)),
    Rule(
        "code",
        1.4,
        "speaks of programs",
        any_of=phrases(_PROGRAM + "| debug* | bug | stack trace | traceback | syntax | variable | repo"),
    ),
    Rule("code", 2.6, "holds source code", when=lambda f: f.holds_code),
    Rule("code", 1.5, "is mostly source code", when=lambda f: f.code_lines > max(3, len(f.lines) // 4)),
    Rule("code", 1.7, "holds an error message", when=_holds_error),
    Rule(
        "code",
        1.3,
        "asks to repair, explain or check what is code",
        any_of=phrases(
            "fix | repair | bug | debug | explain | what does | why does | doesn t work | refactor | wrong"
        ),
        when=lambda f: f.holds_code,
    ),
    Rule("sql", 3.3, "names SQL or a database", any_of=phrases(_DATABASE)),
    Rule("sql", 2.3, "speaks of queries, tables, rows", any_of=phrases(_QUERY)),
    Rule(
        "sql",
        1.7,
        "asks for a query or a schema",
        any_of=phrases(_WRITE + "| ^design | ^diseña | ^entwirf | query | abfrage | requête | consulta"),
        with_any_of=phrases(
            "query | schema | tables | abfrage | requête | consulta | tablas | 查询 | 表结构 | tabellen"
        ),
    ),
    Rule("sql", 3.3, "holds a SQL statement", when=_holds_sql),
    Rule("sql", 3.5, "holds table definitions", when=_creates_table),
    Rule("sql", 1.9, "lists tables with their columns", when=_lists_tables),
    Rule("structured", 3.0, "the request brings tools", when=lambda f: f.request.has_tools),
    Rule("structured", 4.5, "the answer must follow a schema", when=lambda f: f.request.has_response_schema),
    Rule("structured", 5.5, "holds specifications of functions", when=_specifies_functions),
    Rule("structured", 4.5, "holds a JSON schema", when=_holds_schema),
    Rule(
        "structured",
        2.1,
        "asks for JSON or a call",
        any_of=phrases(
            "json | yaml output | xml output | function call | tool call | tool calls | api call |"
            " valid json | json object | function calls | the call | funktionsaufruf | appel de fonction |"
            " llamada | chamada"
        ),
    ),
    Rule(
        "math",
        3.0,
        "asks to calculate, solve or prove",
        any_of=phrases(
            "^calculate | ^compute | ^solve | ^prove | ^evaluate | ^simplify | ^integrate |"
            " ^differentiate | calculate | derivative | integral | probability | equation | square root |"
            " prime number | factorial | solve for | percent of | berechne | calcula | calcule | calculer |"
            " calcola | rechne | lös | löse | вычисли | реши | сколько будет | 计算 | 求 | 解方程 | 証明 |"
            " 計算 | theorem | polynomial | eigenvalue* | matrix | triangle | standard deviation |"
            " what is the smallest | what is the largest | digits | euclidean | numbers | finite group |"
            " докажи | beweise | démontre* | expected value | prove that | show that | how much is |"
            " wie viel sind | combien font | cuánto es | quanto fa | celsius | fahrenheit"
        ),
    ),
    Rule(
        "math",
        2.8,
        "asks how many or how much",
        any_of=phrases(
            "how many | how much | how long | how far | how old | wie viele | wie viel | combien de |"
            " combien | cuántos | cuántas | cuánto | quanti | quante | quantos | quantas | сколько | 多少 |"
            " いくつ | 何個 | 몇 | กี่ | ngapi | কত | ఎన్ని | what is the total | in total | altogether |"
            " wie alt"
        ),
        when=lambda f: f.numbers >= 1,
    ),
    Rule("math", 2.6, "a short question with several numbers", when=_word_problem),
    Rule(
        "math",
        2.5,
        "converts units",
        any_of=phrases("^convert | convert | conversion | converting | how many | umrechnen"),
        with_any_of=phrases(
            "inches | inch | feet | ft | cm | centimeters | meters | miles | km | kilometers | pounds |"
            " lbs | kg | kilograms | ounces | cup | cups | tablespoons | teaspoons | liters | litres |"
            " gallons | celsius | fahrenheit | measurement | units"
        ),
    ),
    Rule("math", 1.7, "holds formulas", when=_holds_formula),
    Rule(
        "math",
        1.4,
        "holds arithmetic",
        when=_holds_arithmetic,
    ),
    Rule(
        "math",
        1.8,
        "uses the words of mathematics or physics problems",
        any_of=phrases(
            "number | sum | product | average | equals | divided by | times | twice | half | percent |"
            " ratio | angle | radius | velocity | function f | math | maths | arithmetic | algebra |"
            " geometry | mathe | mathématiques"
        ),
        when=lambda f: f.numbers >= 1,
    ),
)
