"""Statements of hot paths, compiled once for each process and database alias.

Django builds the SQL of a queryset each time it is run. For the query of a token request, that
takes 250 of 420 microseconds on SQLite. What Django's compiler has built is kept here: the SQL,
the converters of the columns, and what makes objects of them. So custom fields, user models and
databases work as they do in a queryset.
"""

import functools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Generic, NamedTuple, TypeVar

from django.core.exceptions import EmptyResultSet
from django.core.signals import setting_changed
from django.db import connections, router, transaction
from django.db.models import Model, Value
from django.db.models.signals import post_save, pre_save
from django.dispatch import receiver

Row = TypeVar("Row", bound=Model)
# An undocumented name of Django's that is used here has changed. Tests see that.
HAS_MOVED = (AttributeError, ImportError, LookupError, TypeError, ValueError)
# Fields of MySQL, PostgreSQL and GIS have a placeholder of their own, by the second name since
# Django 6.1.
PLACEHOLDERS = ("get_placeholder", "get_placeholder_sql")


class Parameter(Value):
    """The place of a value that is given when the query is run."""

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        return "%s", (self,)

    def prepare(self, value: Any, connection: Any) -> Any:
        """Convert a value as the field does, in a filter or in an update."""
        if self.for_save:
            return self.output_field.get_db_prep_save(value, connection)
        return self.output_field.get_db_prep_value(value, connection)


class Statement(NamedTuple):
    """SQL with its parameters; `rows` makes objects of its result, if it has one."""

    sql: str
    params: tuple[Any, ...]
    rows: "Rows | None" = None

    def execute(self, cursor: Any, values: dict[str, Any]) -> None:
        params = [
            each.prepare(values[each.value], cursor.db) if type(each) is Parameter else each
            for each in self.params
        ]
        cursor.execute(self.sql, params)


class Rows:
    """Makes objects of rows, as Django's `ModelIterable` does."""

    def __init__(self, queryset: Any, compiler: Any) -> None:
        from django.db.models.query import get_related_populators

        select, info = compiler.select, compiler.klass_info
        expressions = [column[0] for column in select]
        if compiler.has_composite_fields(expressions):
            raise TypeError("Not for composite primary keys")
        positions = info["select_fields"]
        self.model, self.columns = info["model"], slice(positions[0], positions[-1] + 1)
        self.names = [column.target.attname for column in expressions[self.columns]]
        # Since Django 6.1.
        mode = (queryset._fetch_mode,) if hasattr(queryset, "_fetch_mode") else ()
        self.related = get_related_populators(info, select, queryset.db, *mode)
        self.converters = list(compiler.get_converters(expressions).items())
        self.annotations = list(compiler.annotation_col_map.items())

    def make(self, values: Any, connection: Any) -> Any:
        row = list(values)
        for at, (converters, expression) in self.converters:
            for convert in converters:
                row[at] = convert(row[at], expression, connection)
        made = self.model.from_db(connection.alias, self.names, row[self.columns])
        for populator in self.related:
            populator.populate(row, made)
        for name, at in self.annotations:
            setattr(made, name, row[at])
        return made


class Compiled:
    """What `build` makes, given a value for each of some `fields` of a model.

    It is called once, to compile it, so nothing else in it may change: neither a time nor what a
    manager filters by.
    """

    def __init__(self, model: type[Model], build: Callable[..., Any], **fields: str) -> None:
        self.model, self.build, self.fields = model, build, fields

    def statement(self, using: str) -> Statement | None:
        """Return the statement for a database; None if only a queryset can be run there."""
        key = (self, using)
        if key not in _statements:
            field: Any = self.model._meta.get_field
            parameters = {
                name: Parameter(name, output_field=field(of)) for name, of in self.fields.items()
            }
            # A connection of its own, because converters may keep it, and no thread uses it.
            connection = connections.create_connection(using)
            try:
                _statements[key] = self.compile(self.build(**parameters), connection)
            except HAS_MOVED:
                _statements[key] = None
            finally:
                # Some backends ask the server what it can do.
                connection.close()
        return _statements[key]

    def compile(self, built: Any, connection: Any) -> Statement | None:
        raise NotImplementedError


class CompiledQuery(Compiled, Generic[Row]):
    """A queryset that has one row at most."""

    def first(self, using: str, **values: Any) -> Row | None:
        """Return the row for these values, from the database of this alias."""
        statement = self.statement(using)
        if statement is None or statement.rows is None:
            return next(iter(self.build(**values).using(using)), None)
        connection = connections[using]
        with connection.cursor() as cursor:
            statement.execute(cursor, values)
            found = cursor.fetchone()
        return None if found is None else statement.rows.make(found, connection)

    def compile(self, built: Any, connection: Any) -> Statement | None:
        from django.db.models.sql.compiler import SQLCompiler

        queryset = built.using(connection.alias)
        compiler = queryset.query.get_compiler(connection=connection)
        if type(compiler).results_iter is not SQLCompiler.results_iter:
            # It makes something of the rows that `Rows` does not know.
            return None
        sql, params = compiler.as_sql()
        return Statement(sql, tuple(params), Rows(queryset, compiler))


class CompiledUpdate(Compiled):
    """An update. `build` makes a queryset and the changes of its rows."""

    def execute(self, using: str, **values: Any) -> int:
        """Return the number of rows that were changed in the database of this alias."""
        statement = self.statement(using)
        if statement is None:
            queryset, changes = self.build(**values)
            return queryset.using(using).update(**changes)
        with (
            transaction.mark_for_rollback_on_error(using=using),
            connections[using].cursor() as cursor,
        ):
            statement.execute(cursor, values)
            return cursor.rowcount

    def compile(self, built: Any, connection: Any) -> Statement | None:
        queryset, changes = built
        sql, params = _update_compiler(queryset, changes, connection).as_sql()
        return Statement(sql, tuple(params))


class CompiledInsert(Compiled):
    """The INSERT of one row, whose primary key the database makes."""

    def __init__(self, model: type[Model]) -> None:
        opts: Any = model._meta
        self.written = [
            field for field in opts.concrete_fields if not (field.primary_key or field.generated)
        ]
        self.returned = [field.attname for field in opts.db_returning_fields]
        super().__init__(model, dict, **{field.attname: field.attname for field in self.written})

    def execute(self, row: Model, using: str) -> bool:
        """Insert the row; return False, and do nothing, where only `save()` can do it."""
        statement = self.statement(using)
        if statement is None:
            return False
        values = {field.attname: field.pre_save(row, True) for field in self.written}
        with (
            transaction.mark_for_rollback_on_error(using=using),
            connections[using].cursor() as cursor,
        ):
            statement.execute(cursor, values)
            found = cursor.fetchone()
        for name, value in zip(self.returned, found, strict=True):
            setattr(row, name, value)
        row._state.adding, row._state.db = False, using
        return True

    def compile(self, built: Any, connection: Any) -> Statement | None:
        from django.db.models.sql import InsertQuery

        opts: Any = self.model._meta
        query: Any = InsertQuery(self.model)
        # `raw`: the values are taken as they are, without `pre_save()`.
        query.insert_values(self.written, [SimpleNamespace(**built)], raw=True)
        compiler = query.get_compiler(connection=connection)
        compiler.returning_fields = opts.db_returning_fields
        has_returning = connection.features.can_return_columns_from_insert
        columns = [field.cached_col for field in opts.db_returning_fields]
        if (
            opts.parents
            or any(hasattr(field, name) for field in self.written for name in PLACEHOLDERS)
            or opts.pk not in opts.db_returning_fields
            or connection.vendor not in ("postgresql", "sqlite", "mysql")
            or not has_returning
            or compiler.get_converters(columns)
        ):
            return None
        ((sql, params),) = compiler.as_sql()
        return Statement(sql, tuple(params))


_insert_into = functools.cache(CompiledInsert)


def insert(row: Model) -> None:
    """Save a new row as `save()` does. Signals are sent, by `save()`, if any receiver is connected.

    Django builds the statement anew for each row. For the rows of a login to tokens, this takes
    a tenth of its instructions.
    """
    model = type(row)
    using = router.db_for_write(model, instance=row)
    is_heard = pre_save.has_listeners(model) or post_save.has_listeners(model)
    if is_heard or not _insert_into(model).execute(row, using):
        row.save(force_insert=True, using=using)


def update_returning(
    rows: Any, changes: dict[str, Any], names: Sequence[str]
) -> Sequence[Sequence[Any]] | None:
    """Update rows of one table, and return columns of those that were changed.

    Return None, and change nothing, where only a queryset can do it, such as on MariaDB, which
    has `RETURNING` for inserts alone. Ending 100,000 rows takes three quarters of the CPU time.
    """
    connection: Any = connections[rows.db]
    has_returning = connection.features.can_return_columns_from_insert
    if connection.vendor not in ("postgresql", "sqlite") or not has_returning:
        return None
    opts = rows.model._meta
    fields = [opts.pk if name == "pk" else opts.get_field(name) for name in names]
    try:
        compiler = _update_compiler(rows, changes, connection)
        sql, params = compiler.as_sql()
        converters = compiler.get_converters([field.cached_col for field in fields])
    except EmptyResultSet:
        return ()
    except HAS_MOVED:
        return None
    columns = ", ".join(connection.ops.quote_name(field.column) for field in fields)
    with transaction.mark_for_rollback_on_error(using=rows.db), connection.cursor() as cursor:
        cursor.execute(f"{sql} RETURNING {columns}", params)
        found = cursor.fetchall()
    return list(compiler.apply_converters(found, converters)) if converters else found


def _update_compiler(rows: Any, changes: dict[str, Any], connection: Any) -> Any:
    from django.db.models.sql import UpdateQuery

    query = rows.query.chain(UpdateQuery)
    query.add_update_values(changes)
    return query.get_compiler(connection=connection)


# Not by connection: under ASGI, each request has a new one.
_statements: dict[tuple[Compiled, str], Statement | None] = {}


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    _statements.clear()
