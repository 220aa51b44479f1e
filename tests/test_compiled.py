"""A compiled query, beside the queryset that it was compiled from: the same rows and SQL."""

import gc
import threading
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import connections, models, router, transaction
from django.db.models.signals import post_save, pre_save
from django.db.models.sql.compiler import SQLCompiler
from django.test.utils import CaptureQueriesContext, isolate_apps, override_settings
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from authmodes import registry
from authmodes.models import LoginEvent, LoginSession, compiled, users, write_database
from authmodes.models.compiled import CompiledInsert, CompiledQuery, CompiledUpdate
from authmodes.registry import events, starting, validation
from authmodes.sessions import db as session_engine

from .support.database import connection

HOUR = timedelta(hours=1)
User = get_user_model()


class Shouted(str):
    """What `ShoutingField` makes of a text."""


class ShoutingField(models.CharField):
    """Stored in lower case, and in capitals in Python."""

    def from_db_value(self, value, expression, connection):
        return None if value is None else Shouted(value.upper())

    def get_prep_value(self, value):
        return None if value is None else str(value).lower()


def odd_models():
    """A user as a project may have one, and a row that refers to it."""

    class Person(models.Model):
        code = models.UUIDField(primary_key=True, default=uuid.uuid4, db_column="CODE")
        born = models.DateField(null=True)

        class Meta:
            app_label = "tests"

    class Manager(models.Manager):
        def get_queryset(self):
            return super().get_queryset().filter(hidden=False)

    class Account(Person):
        name = ShoutingField(max_length=50, db_column="the name", unique=True)
        hidden = models.BooleanField(default=False)
        balance = models.DecimalField(max_digits=9, decimal_places=2, default=0)
        data = models.JSONField(default=dict)
        wait = models.DurationField(default=timedelta)
        objects = Manager()

        class Meta:
            app_label = "tests"

    class Visit(models.Model):
        account = models.ForeignKey(Account, models.CASCADE, null=True, db_column="who")
        guide = models.ForeignKey(Account, models.CASCADE, null=True, related_name="+")
        at = models.DateTimeField()
        address = models.GenericIPAddressField(null=True)
        raw = models.BinaryField(default=b"")

        class Meta:
            app_label = "tests"

    class Call(models.Model):
        title = ShoutingField(max_length=50, db_column="the title")
        account = models.ForeignKey(Account, models.CASCADE, null=True, db_column="who")
        made_at = models.DateTimeField(auto_now_add=True)
        address = models.GenericIPAddressField(null=True)
        data = models.JSONField(default=dict)

        class Meta:
            app_label = "tests"

    return Person, Account, Visit, Call


@pytest.fixture
def odd(db):
    with isolate_apps("tests"):
        made = odd_models()
        with connection.schema_editor() as editor:
            for model in made:
                editor.create_model(model)
        yield made
        with connection.schema_editor() as editor:
            for model in reversed(made):
                editor.delete_model(model)


def shown(row, *seen):
    """Everything that is known of an object, and of those that were loaded with it."""
    if row is None or row in seen:
        return row
    # Deferred values are missing.
    values = {
        name: (type(value), bytes(value) if isinstance(value, memoryview) else value)
        for name, value in vars(row).items()
        if name != "_state"
    }
    state = row._state
    cached = {name: shown(one, row, *seen) for name, one in state.fields_cache.items()}
    return type(row), state.db, state.adding, values, cached


def plain(query, **values):
    return next(iter(query.build(**values).using(write_database())), None)


def is_compiled(query):
    return query.statement(write_database()) is not None


@pytest.mark.django_db(transaction=True)
def test_odd_models_are_loaded_as_by_a_queryset(odd):
    Person, Account, Visit, _call = odd
    using = write_database()
    account = Account.objects.using(using).create(
        name="Ann",
        born=date(1999, 1, 2),
        hidden=True,
        balance=Decimal("1.50"),
        data={"a": [1]},
        wait=HOUR,
    )
    at = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
    visits = [
        Visit.objects.using(using).create(at=at, account=account, address="::1", raw=b"\x00\xff"),
        Visit.objects.using(using).create(at=at + HOUR, account=account, guide=account),
        Visit.objects.using(using).create(at=at),
    ]
    older = Visit.objects.filter(account=models.OuterRef("account"), at__lt=models.OuterRef("at"))
    rows = Visit.objects.select_related("account", "guide").annotate(
        older=models.Subquery(older.values("raw")[:1]),
        known=models.ExpressionWrapper(
            models.Q(account__isnull=False), output_field=models.BooleanField()
        ),
    )
    queries = [
        CompiledQuery(Visit, lambda pk: rows.filter(pk=pk), pk="id"),
        CompiledQuery(Visit, lambda pk: rows.filter(pk=pk).defer("raw", "account__data"), pk="id"),
        CompiledQuery(Visit, lambda pk: Visit.objects.filter(pk=pk, at__gte=at), pk="id"),
    ]
    for query in queries:
        for pk in [*(visit.pk for visit in visits), 12345]:
            assert shown(query.first(using, pk=pk)) == shown(plain(query, pk=pk))
        assert is_compiled(query)
    first = queries[0].first(using, pk=visits[0].pk)
    assert first.known is True
    assert (first.account.name, first.account.balance) == (Shouted("ANN"), Decimal("1.50"))
    accounts = Account._base_manager.all()
    by_name = CompiledQuery(Account, lambda name: accounts.filter(name=name), name="name")
    assert by_name.first(using, name="ANN") == account
    assert shown(by_name.first(using, name="ANN")) == shown(plain(by_name, name="ANN"))
    by_code = CompiledQuery(Person, lambda code: Person.objects.filter(code=code), code="code")
    assert by_code.first(using, code=account.code).born == date(1999, 1, 2)
    assert by_code.first(using, code=uuid.uuid4()) is None


@pytest.mark.django_db(transaction=True)
def test_an_update_of_an_odd_model_writes_as_a_queryset_does(odd):
    _person, Account, _visit, _call = odd
    using = write_database()
    for name in ("Ann", "Bob"):
        Account.objects.using(using).create(name=name)
    rename = CompiledUpdate(
        Account,
        lambda old, new: (Account._base_manager.filter(name=old), {"name": new, "hidden": True}),
        old="name",
        new="name",
    )
    assert (rename.execute(using, old="ANN", new="EVE"), is_compiled(rename)) == (1, True)
    assert rename.execute(using, old="ANN", new="EVE") == 0
    queryset, changes = rename.build(old="BOB", new="Joe")
    assert queryset.using(using).update(**changes) == 1
    rows = Account._base_manager.using(using).values_list("name", "hidden")
    assert sorted(rows) == [("EVE", True), ("JOE", True)]


@pytest.mark.django_db(transaction=True)
def test_an_insert_into_an_odd_model_writes_as_save_does(odd, clock):
    Person, Account, Visit, Call = odd
    using, now = write_database(), timezone.now()
    account = Account(name="Ann", born=date(1999, 1, 2))
    # Of two tables, with a key that Python makes, with a placeholder of its own.
    for row in (account, Person(), Visit(at=now, account=account, raw=b"\x00\xff")):
        compiled.insert(row)
        assert not is_compiled(compiled._insert_into(type(row)))
        assert type(row)._base_manager.using(using).filter(pk=row.pk).exists()
    for values in ({}, {"account": account, "address": "::1", "data": {"a": [1]}}):
        ours, django = Call(title="Hi", **values), Call(title="Hi", **values)
        with CaptureQueriesContext(connection) as captured:
            compiled.insert(ours)
            django.save(force_insert=True)
        first, second = (each["sql"] for each in captured if "INSERT" in each["sql"])
        assert first == second
        assert is_compiled(compiled._insert_into(Call))
        assert ours.pk == django.pk - 1
        ours.pk = django.pk
        assert shown(ours) == shown(django)
        assert Call.objects.using(using).get(pk=ours.pk).title == "HI"


def test_an_update_returns_what_a_queryset_reads(login):
    if connection.vendor == "mysql":
        pytest.xfail("MariaDB returns nothing of an update")
    rows = LoginSession.objects.filter(pk__in=[login("session").row.pk, login("jwt").row.pk])
    names = ("pk", "sid", "user_id", "session_key", "refresh_token_id", "created_at")
    before = sorted(rows.values_list(*names))
    going, mark = rows.filter(ended_at=None), {"ended_at": timezone.now(), "ended_by": None}
    assert sorted(map(tuple, compiled.update_returning(going, mark, names))) == before
    assert rows.filter(**mark).count() == 2
    assert list(compiled.update_returning(going, mark, names)) == []
    assert list(compiled.update_returning(rows.none(), mark, names)) == []


VALUES = {
    "sid": uuid.UUID(int=5),
    "pk": 7,
    "known_hash": "a",
    "jti": "b",
    "successor": "c",
    "auth_hash": "d",
    "key": "e",
    "user": 8,
    "now": datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC),
}


def all_compiled():
    """Every compiled query of the package: whatever it is used for, it is tested here."""
    session_engine._unexpired(Session)
    users._by_pk(User)
    # Not `isinstance`, which evaluates lazy objects.
    found = [each for each in gc.get_objects() if issubclass(type(each), compiled.Compiled)]
    ours = (LoginSession, Session, User)
    return [each for each in found if each.model in ours and not isinstance(each, CompiledInsert)]


def test_each_query_of_ours_is_compiled_to_the_sql_of_its_queryset(db):
    """Fails where an undocumented name of Django's has moved: then all of them run plainly."""
    using, queries = write_database(), all_compiled()
    assert len(queries) == 6
    for query in queries:
        assert is_compiled(query), query.build
        values = {name: VALUES[name] for name in query.fields}
        with CaptureQueriesContext(connection) as ours:
            if isinstance(query, CompiledQuery):
                assert query.first(using, **values) is None
            else:
                assert query.execute(using, **values) == 0
        with CaptureQueriesContext(connection) as django:
            if isinstance(query, CompiledQuery):
                assert plain(query, **values) is None
            else:
                queryset, changes = query.build(**values)
                assert queryset.using(using).update(**changes) == 0
        sql = [[each["sql"] for each in captured] for captured in (ours, django)]
        assert sql[0] == sql[1]
        assert len(sql[0]) == 1


def test_the_rows_of_a_login_are_inserted_as_by_save(login, monkeypatch):
    """Fails where an undocumented name of Django's has moved."""
    using, inserted = write_database(), []
    with monkeypatch.context() as patch:
        patch.setattr(starting, "insert", lambda row: (row.save(), inserted.append(row)))
        patch.setattr(events, "insert", lambda row: (row.save(), inserted.append(row)))
        login("jwt")
    assert [type(row) for row in inserted] == [OutstandingToken, LoginSession, LoginEvent]
    for row in inserted:
        model, found = type(row), []
        assert is_compiled(compiled._insert_into(model))
        for save in (compiled.insert, lambda row: row.save(force_insert=True)):
            with CaptureQueriesContext(connection) as captured, transaction.atomic(using=using):
                if model is OutstandingToken:
                    LoginSession.objects.all()._raw_delete(using)
                model.objects.all()._raw_delete(using)
                row.pk, row._state.adding, row._state.db = None, True, None
                save(row)
                assert (row._state.adding, row._state.db) == (False, using)
                (stored,) = model.objects.using(using).filter(pk=row.pk).values()
                transaction.set_rollback(True, using=using)
            (sql,) = [each["sql"] for each in captured if "INSERT" in each["sql"]]
            found.append((sql, {**stored, "id": None}))
        assert found[0] == found[1]


def test_a_receiver_hears_of_the_rows_of_a_login(login):
    """Such as that of an audit log, which is connected for all models."""
    heard = []

    def receive(sender, instance, signal, **kwargs):
        heard.append((sender, signal is post_save, instance.pk is not None))

    for signal in (pre_save, post_save):
        signal.connect(receive)
    try:
        login("jwt")
    finally:
        for signal in (pre_save, post_save):
            assert signal.disconnect(receive)
    for model in (OutstandingToken, LoginSession, LoginEvent):
        assert [each[1:] for each in heard if each[0] is model] == [(False, False), (True, True)]
    heard.clear()
    login("jwt")
    assert not heard


@pytest.mark.parametrize("query", ["_of_token", "_of_request"])
def test_a_login_session_is_loaded_as_by_a_queryset(query, login):
    row, query = login("jwt").row, getattr(validation, query)
    found = query.first(write_database(), sid=row.sid)
    assert shown(found) == shown(plain(query, sid=row.sid))
    assert (found, found.user, found.blacklist_entry) == (row, row.user, None)
    BlacklistedToken.objects.bulk_create([BlacklistedToken(token=row.refresh_token)])
    found = query.first(write_database(), sid=row.sid)
    assert found.blacklist_entry == plain(query, sid=row.sid).blacklist_entry is not None


def test_a_session_is_loaded_as_by_a_queryset(db):
    store = session_engine.SessionStore()
    store["cart"] = ["book"]
    store.save()
    query, now = session_engine._unexpired(Session), timezone.now()
    values = {"key": session_engine.digest_of(store.session_key), "now": now}
    using = router.db_for_read(Session)
    found = query.first(using, **values)
    assert shown(found) == shown(next(iter(query.build(**values).using(using))))
    assert found.get_decoded() == {"cart": ["book"]}
    values["now"] = now + timedelta(days=365)
    assert query.first(using, **values) is None


# -- what goes on working --------------------------------------------------------------------


def test_a_wrapper_of_the_connection_sees_the_statement(login):
    row, seen = login("jwt").row, []

    def wrapper(execute, sql, params, many, context):
        seen.append((sql, context["connection"]))
        return execute(sql, params, many, context)

    with connections[write_database()].execute_wrapper(wrapper):
        assert validation._of_request.first(write_database(), sid=row.sid) == row
    assert [used for _sql, used in seen] == [connections[write_database()]]


def test_a_new_connection_uses_the_same_statement(login):
    """Under ASGI, each request has a new one."""
    sid, statements = login("jwt").row.sid, set()

    def look():
        try:
            validation._of_request.first(write_database(), sid=sid)
            statements.add(id(validation._of_request.statement(write_database())))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=look) for _ in range(4)]
    look()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statements) == 1


def test_a_statement_keeps_no_connection_that_a_thread_uses(login):
    used = login("jwt")
    assert used.get().status_code == 200
    statement = validation._of_request.statement(write_database())
    kept = [
        converter.__self__.connection
        for _at, (converters, _expression) in statement.rows.converters
        for converter in converters
        if hasattr(getattr(converter, "__self__", None), "connection")
    ]
    assert connections[write_database()] not in kept
    assert all(each.connection is None for each in kept)


def test_a_changed_setting_compiles_anew(login):
    sid, using = login("jwt").row.sid, write_database()
    aware = validation._of_request.first(using, sid=sid).expires_at
    with override_settings(USE_TZ=False):
        assert not compiled._statements
        naive = validation._of_request.first(using, sid=sid).expires_at
    again = validation._of_request.first(using, sid=sid).expires_at
    assert (timezone.is_aware(aware), timezone.is_aware(naive), again) == (True, False, aware)


def moved(*args):
    raise AttributeError("moved")


def test_where_a_name_of_djangos_has_moved_the_querysets_serve(login, monkeypatch):
    used = login("jwt")
    compiled._statements.clear()
    monkeypatch.setattr(CompiledQuery, "compile", moved)
    monkeypatch.setattr(CompiledUpdate, "compile", moved)
    monkeypatch.setattr(CompiledInsert, "compile", moved)
    monkeypatch.setattr(compiled, "_update_compiler", moved)
    assert [used.get().status_code, used.refresh().status_code] == [200, 200]
    assert used.get().status_code == 200
    assert set(compiled._statements.values()) == {None}
    assert registry.revoke(used.row)
    assert used.get().status_code == 401
    assert login("jwt").get().status_code == 200
    assert set(compiled._statements.values()) == {None}
    compiled._statements.clear()


def test_where_a_compiler_changes_rows_the_queryset_serves(login, monkeypatch):
    class Different(SQLCompiler):
        def results_iter(self, *args, **kwargs):
            return super().results_iter(*args, **kwargs)

    ops, used = type(connection.ops), login("jwt")
    compiler = ops.compiler
    monkeypatch.setattr(
        ops,
        "compiler",
        lambda self, name: Different if name == "SQLCompiler" else compiler(self, name),
    )
    compiled._statements.clear()
    assert used.get().status_code == 200
    assert set(compiled._statements.values()) == {None}
    compiled._statements.clear()


def test_a_session_model_with_a_manager_of_its_own_is_asked_through_it(db, monkeypatch):
    store = session_engine.SessionStore()
    store["cart"] = ["book"]
    store.save()

    class Hiding(type(Session.objects)):
        hides = False

        def get_queryset(self):
            found = super().get_queryset()
            return found.none() if self.hides else found

    monkeypatch.setattr(Session.objects, "__class__", Hiding)
    assert session_engine.SessionStore(store.session_key).load() == {"cart": ["book"]}
    monkeypatch.setattr(Hiding, "hides", True)
    assert session_engine.SessionStore(store.session_key).load() == {}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_statements_that_the_server_prepares_give_the_same(odd, monkeypatch):
    """With `server_side_binding`, each parameter has a type on the server."""
    _person, Account, Visit, _call = odd
    using, now = write_database(), timezone.now()
    ann = Account.objects.using(using).create(name="Ann", born=date(1999, 1, 2))
    Visit.objects.using(using).create(at=now, account=ann, address="::1")
    visits = Visit.objects.select_related("account")
    odd_query = CompiledQuery(
        Visit,
        lambda address, at: visits.filter(address=address, at__lte=at),
        address="address",
        at="at",
    )
    prepares = {"server_side_binding": True, "prepare_threshold": 1}
    settings = connections[using].settings_dict
    monkeypatch.setitem(settings, "OPTIONS", {**settings["OPTIONS"], **prepares})
    connections[using].close()
    try:
        for _ in range(3):
            values = {"address": "::1", "at": now}
            assert shown(odd_query.first(using, **values)) == shown(plain(odd_query, **values))
            for query in all_compiled():
                values = {name: VALUES[name] for name in query.fields}
                run = query.first if isinstance(query, CompiledQuery) else query.execute
                assert not run(using, **values)
        assert odd_query.first(using, address="::1", at=now).account == ann
    finally:
        connections[using].close()


def test_the_connection_for_compiling_is_closed_because_a_backend_may_open_it(monkeypatch):
    create, closed = connections.create_connection, []

    def create_noting(using):
        made = create(using)
        monkeypatch.setattr(made, "close", lambda: closed.append(using))
        return made

    monkeypatch.setattr(connections, "create_connection", create_noting)
    assert is_compiled(CompiledQuery(LoginSession, validation._by_sid, sid="sid"))
    assert closed == [write_database()]
