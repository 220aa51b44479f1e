"""Statements about a thousand rows at once, without a Python object for each parameter or row.

They halve the time that Python takes to end 100,000 rows.
"""

from typing import Any

from django.db import connections, transaction
from django.db.models import F, Model, QuerySet
from django.db.models.constants import OnConflict
from django.db.models.lookups import In


class OneOf(In):
    """`IN` for many numbers or texts of the column's own kind.

    On PostgreSQL, they are one parameter: psycopg splits the SQL at each, and Django prepares each.
    """

    def __init__(self, column: str, values: Any) -> None:
        super().__init__(F(column), list(values))

    def get_prep_lookup(self) -> Any:
        return self.rhs

    def as_postgresql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        if not self.rhs:
            return self.as_sql(compiler, connection)
        column, params = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", [*params, self.rhs]


def insert_from(rows: QuerySet[Any, Any], model: type[Model], *names: str) -> None:
    """Insert what `rows` selects into fields of a model; rows that exist already stay."""
    connection: Any = connections[rows.db]
    ops = connection.ops
    fields: list[Any] = [model._meta.get_field(name) for name in names]
    select, params = rows.query.get_compiler(connection=connection).as_sql()
    insert = ops.insert_statement(on_conflict=OnConflict.IGNORE)
    ignore = ops.on_conflict_suffix_sql(fields, OnConflict.IGNORE, (), ())
    table, *columns = map(ops.quote_name, [model._meta.db_table, *(each.column for each in fields)])
    with transaction.mark_for_rollback_on_error(using=rows.db), connection.cursor() as cursor:
        cursor.execute(f"{insert} {table} ({', '.join(columns)}) {select} {ignore}", params)
