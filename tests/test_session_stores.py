"""The digest engines are session stores like Django's own; a request's store is its engine's."""

import copy
import pickle
import re
from datetime import timedelta
from importlib import import_module

import pytest
from allauth.account.signals import user_logged_in as allauth_logged_in
from asgiref.sync import async_to_sync
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import cached_db as django_cached_db
from django.contrib.sessions.backends import db as django_db
from django.contrib.sessions.backends import file as django_file
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.core import management
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from authmodes import registry
from authmodes.models import write_database
from authmodes.models.compiled import CompiledQuery
from authmodes.registry import django_sessions
from authmodes.sessions import db as session_engine
from authmodes.sessions import state as session_state
from authmodes.sessions import store as session_store
from authmodes.sessions.db import digest_of

from .support.browser import Browser
from .support.logins import API, PASSWORD, sign_in

ENGINES = ["authmodes.sessions.db", "authmodes.sessions.cached_db"]
pytestmark = pytest.mark.django_db


@pytest.fixture(params=ENGINES)
def store(request, settings):
    """The engine's class."""
    settings.SESSION_ENGINE = request.param
    return import_module(request.param).SessionStore


@pytest.fixture
def session(store):
    return store()


@pytest.fixture
def saved(store):
    """A session in the store; give it as a new request would find it."""
    session = store()
    session["cat"] = "dog"
    session.save()
    return store(session.session_key)


def dump():
    """Everything that the table and the cache hold, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_key, session_data FROM django_session")
        rows = cursor.fetchall()
    return repr(rows) + repr(dict(cache._cache))


# -- as any session ------------------------------------------------------------------------


def test_a_new_session_is_neither_modified_nor_accessed(session):
    assert (session.modified, session.accessed) == (False, False)
    assert session.session_key is None


def test_getting_what_is_not_there(session):
    assert session.get("cat") is None
    assert session.get("cat", "default") == "default"
    assert "cat" not in session
    with pytest.raises(KeyError):
        session["cat"]


def test_setting_modifies(session):
    session["cat"] = "dog"
    assert (session.accessed, session.modified) == (True, True)
    assert session.pop("cat") == "dog"
    assert session.pop("cat", "gone") == "gone"
    with pytest.raises(KeyError):
        session.pop("cat")
    session.update({"a": 1})
    assert session.setdefault("a", 2) == 1
    assert (list(session.keys()), list(session.values())) == (["a"], [1])
    assert session.has_key("a")
    session.clear()
    assert list(session.items()) == []


def test_what_is_saved_is_loaded(saved):
    assert saved["cat"] == "dog"
    assert (saved.accessed, saved.modified) == (True, False)


def test_saving_again_updates(saved, store):
    saved["cat"] = "mouse"
    saved.save()
    assert store(saved.session_key)["cat"] == "mouse"
    assert Session.objects.count() == 1


def test_saving_without_a_key_makes_one(session, store):
    session["cat"] = "dog"
    session.save()
    assert len(session.session_key) == 32
    assert store(session.session_key)["cat"] == "dog"


def test_creating_makes_an_empty_session_with_a_fresh_key(session):
    session.create()
    assert session.modified
    assert session.exists(session.session_key)
    assert list(session.keys()) == []


def test_a_key_that_is_taken_is_not_taken_again(session, store, monkeypatch):
    session.create()
    taken, free = session.session_key, "f" * 32
    keys = iter([taken, free])
    monkeypatch.setattr(store, "_get_new_session_key", lambda self: next(keys))
    other = store()
    other.create()
    assert other.session_key == free
    assert Session.objects.count() == 2


def test_exists(saved):
    assert saved.exists(saved.session_key)
    assert not saved.exists("0" * 32)


def test_deleting(saved, store):
    key = saved.session_key
    saved.delete(key)
    assert not saved.exists(key)
    assert list(store(key).keys()) == []


def test_deleting_ones_own(saved, store):
    saved.delete()
    assert not store().exists(saved.session_key)
    assert Session.objects.count() == 0


def test_deleting_what_is_not_there_does_no_harm(session, saved):
    session.delete()
    session.delete("0" * 32)
    assert saved.exists(saved.session_key)


def test_flushing_forgets_the_data_and_the_key(saved):
    key = saved.session_key
    saved.flush()
    assert not saved.exists(key)
    assert saved.session_key is None
    assert (saved.modified, saved.accessed) == (True, True)
    assert list(saved.keys()) == []


def test_cycling_keeps_the_data_under_another_key(saved, store):
    old = saved.session_key
    assert saved["cat"] == "dog"
    saved.cycle_key()
    assert saved.session_key != old
    assert not store().exists(old)
    saved.save()
    assert store(saved.session_key)["cat"] == "dog"
    assert Session.objects.count() == 1


def test_cycling_an_unsaved_session_makes_a_key(session):
    session["cat"] = "dog"
    session.cycle_key()
    assert session.session_key
    assert session["cat"] == "dog"


@pytest.mark.parametrize("key", ["", "1", "short", "unknown" * 5, "x" * 200, "a'--", "é" * 20])
def test_a_key_that_was_never_given_out_opens_an_empty_session_without_it(key, store):
    session = store(key)
    session["cat"] = "dog"
    session.save()
    assert session.session_key != key
    assert store(session.session_key)["cat"] == "dog"


def test_a_key_that_was_planted_is_not_adopted(store):
    """Otherwise an attacker who plants a key would know that of a later login."""
    session = store("planted-by-somebody-0123456789ab")
    assert session.get("cat") is None
    assert session.session_key is None


def test_large_data(saved, store):
    saved["big"] = "x" * 500_000
    saved["text"] = "ünïcödé ☃ \x00"
    saved.save()
    again = store(saved.session_key)
    assert len(again["big"]) == 500_000
    assert again["text"] == "ünïcödé ☃ \x00"


def test_data_that_is_garbage_is_an_empty_session(saved, store):
    Session.objects.update(session_data="garbage")
    cache.clear()
    assert list(store(saved.session_key).keys()) == []


# -- expiry --------------------------------------------------------------------------------


def test_expiry_is_djangos(session, settings, clock):
    settings.SESSION_COOKIE_AGE = 600
    assert session.get_expiry_age() == 600
    session.set_expiry(10)
    assert session.get_expiry_age() == 10
    session.set_expiry(timezone.now() + timedelta(seconds=20))
    assert session.get_expiry_age() == 20
    session.set_expiry(0)
    assert session.get_expire_at_browser_close()
    session.set_expiry(None)
    assert not session.get_expire_at_browser_close()


def test_an_expired_session_is_empty(clock, saved, store):
    saved.set_expiry(60)
    saved.save()
    assert store(saved.session_key)["cat"] == "dog"
    clock.shift(timedelta(seconds=61))
    late = store(saved.session_key)
    assert list(late.keys()) == []
    assert late.session_key is None


def test_clearing_removes_only_what_has_expired(store, clock):
    short, long = store(), store()
    short.set_expiry(60)
    short.save()
    long["cat"] = "dog"
    long.save()
    clock.shift(timedelta(seconds=61))
    management.call_command("clearsessions")
    assert Session.objects.count() == 1
    assert store(long.session_key)["cat"] == "dog"


def test_the_store_clears_itself(store, clock):
    session = store()
    session.set_expiry(60)
    session.save()
    clock.shift(timedelta(seconds=61))
    store.clear_expired()
    assert Session.objects.count() == 0


# -- revocation against saving -------------------------------------------------------------


def test_session_save_does_not_resurrect_what_was_flushed_meanwhile(saved, store):
    """Django's `test_session_save_does_not_resurrect_session_logged_out_in_other_context`."""
    here, elsewhere = store(saved.session_key), store(saved.session_key)
    here["cat"] = "mouse"
    elsewhere.flush()
    with pytest.raises(UpdateError):
        here.save()
    assert Session.objects.count() == 0
    assert list(store(saved.session_key).keys()) == []


@pytest.mark.django_db(transaction=True)
def test_nor_does_an_asynchronous_save(saved, store):
    async def lose():
        here, elsewhere = store(saved.session_key), store(saved.session_key)
        await here.aset("cat", "mouse")
        await elsewhere.aflush()
        with pytest.raises(UpdateError):
            await here.asave()

    async_to_sync(lose)()
    assert Session.objects.count() == 0


# -- the asynchronous half -----------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_asynchronous_methods_do_as_the_others(store):
    async def live():
        session = store()
        await session.aset("cat", "dog")
        await session.asave()
        key = session.session_key
        assert await session.aexists(key)
        assert not await session.aexists("0" * 32)
        found = store(key)
        assert await found.aget("cat") == "dog"
        await found.aset("cat", "mouse")
        await found.asave()
        await found.acycle_key()
        assert found.session_key != key
        assert not await found.aexists(key)
        await found.asave()
        new = found.session_key
        assert await store(new).aget("cat") == "mouse"
        await store().adelete(new)
        assert await store(new).aget("cat") is None
        created = store()
        await created.acreate()
        assert await created.aexists(created.session_key)
        doomed = store(created.session_key)
        await doomed.aflush()
        assert doomed.session_key is None
        assert not await store().aexists(created.session_key)
        planted = store("planted-by-somebody-0123456789ab")
        assert await planted.aget("cat") is None
        assert planted.session_key is None
        await store().adelete()

    async_to_sync(live)()
    assert Session.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_what_one_half_saves_the_other_loads(store):
    session = store()
    session["cat"] = "dog"
    session.save()

    async def look():
        found = store(session.session_key)
        cat = await found.aget("cat")
        await found.aset("cat", "mouse")
        await found.asave()
        return cat

    assert async_to_sync(look)() == "dog"
    assert store(session.session_key)["cat"] == "mouse"


# -- the digest ----------------------------------------------------------------------------


def test_the_key_is_nowhere_in_table_or_cache(saved):
    saved["cat"] = "mouse"
    saved.save()
    saved.cycle_key()
    saved.save()
    assert saved["cat"] == "mouse"
    assert saved.session_key not in dump()
    assert digest_of(saved.session_key) in dump()


def test_nor_after_a_login_and_a_rotation(store, login, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0)
    used = login("session")
    keys = {used.browser.session_cookie}
    for _ in range(2):
        used.get()
        keys.add(used.browser.session_cookie)
    assert len(keys) == 3
    everything = dump()
    with connection.cursor() as cursor:
        cursor.execute("SELECT session_key FROM authmodes_loginsession")
        everything += repr(cursor.fetchall())
    assert not any(key in everything for key in keys)


def test_a_digest_presented_as_a_cookie_opens_nothing(store, login):
    used = login("session")
    rows = list(Session.objects.values_list("session_key", flat=True))
    for digest in [used.row.session_key, *rows]:
        thief = Browser()
        thief.cookies["sessionid"] = digest
        assert thief.get(API).status_code == 401
        assert list(store(digest).keys()) == []
    assert used.get().status_code == 200


def test_a_digest_fills_the_column_and_tells_keys_apart():
    digests = {digest_of(f"key-{number}") for number in range(1000)}
    assert len(digests) == 1000
    assert all(re.fullmatch(r"[0-9a-f]{40}", digest) for digest in digests)


def test_with_the_cache_no_query_is_needed_to_load(settings, django_assert_num_queries):
    store = import_module("authmodes.sessions.cached_db").SessionStore
    session = store()
    session["cat"] = "dog"
    session.save()
    with django_assert_num_queries(0):
        assert store(session.session_key)["cat"] == "dog"


def test_a_cache_that_forgot_is_filled_from_the_table(django_assert_num_queries):
    store = import_module("authmodes.sessions.cached_db").SessionStore
    session = store()
    session["cat"] = "dog"
    session.save()
    cache.clear()
    with django_assert_num_queries(1):
        assert store(session.session_key)["cat"] == "dog"
    with django_assert_num_queries(0):
        assert store(session.session_key)["cat"] == "dog"


def test_loading_costs_one_query(django_assert_num_queries):
    store = import_module("authmodes.sessions.db").SessionStore
    session = store()
    session.create()
    with django_assert_num_queries(1):
        store(session.session_key).get("cat")


@pytest.mark.parametrize("base", [django_db.SessionStore, django_cached_db.SessionStore])
def test_the_private_methods_that_the_engines_replace_are_still_djangos(base):
    for name in ("_get_session_from_db", "_aget_session_from_db", "create_model_instance"):
        assert callable(getattr(base, name))
    assert hasattr(django_cached_db.SessionStore, "cache_key")
    assert hasattr(django_cached_db.SessionStore, "acache_key")


# -- the store of a request ----------------------------------------------------------------

DJANGO = "django.contrib.sessions.backends"


class SessionStore(django_db.SessionStore):
    """An engine as qsessions' and user_sessions' are: its sessions know more than a key."""

    def __init__(self, session_key=None, user_agent=None):
        super().__init__(session_key)
        self.user_agent = user_agent

    def create_model_instance(self, data):
        return super().create_model_instance({**data, "saved from": self.user_agent})


@pytest.fixture(params=[f"{DJANGO}.db", f"{DJANGO}.file", *ENGINES])
def engine(request, settings, tmp_path, monkeypatch):
    settings.SESSION_ENGINE = request.param
    monkeypatch.setattr(django_file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    return import_module(request.param).SessionStore


def attached(session):
    django_sessions.attach_store(session)
    return session


def test_what_either_saves_the_other_reads(engine):
    """Django's salt contains the name of the class."""
    ours = attached(engine())
    ours["cat"] = "dog"
    ours.save()
    plain = engine(ours.session_key)
    assert plain["cat"] == "dog"
    plain["cat"] = "mouse"
    plain.save()
    assert attached(engine(ours.session_key))["cat"] == "mouse"
    assert (type(ours).__name__, type(ours).__module__) == (engine.__name__, engine.__module__)


def test_there_is_one_class_for_each_engine(engine):
    first, second = attached(engine()), attached(attached(engine()))
    assert type(first) is type(second) is not engine
    assert isinstance(first, engine)
    # As allauth does when it has saved the state of a flow.
    assert isinstance(first.__class__(first.session_key), django_sessions.LoginSessionStore)


@pytest.mark.parametrize("is_async", [False, True])
def test_djangos_engine_loads_the_session_of_a_request_by_a_compiled_query(
    is_async, db, clock, monkeypatch
):
    plain = django_db.SessionStore()
    plain["cat"] = "dog"
    plain.save()

    def load():
        session = attached(django_db.SessionStore(plain.session_key))
        found = async_to_sync(session.aget)("cat") if is_async else session.get("cat")
        return found, session.session_key

    asked = []
    first = CompiledQuery.first
    monkeypatch.setattr(
        CompiledQuery, "first", lambda *args, **kwargs: asked.append(1) or first(*args, **kwargs)
    )
    assert (load(), asked) == (("dog", plain.session_key), [1])
    clock.shift(timedelta(days=15))
    assert load() == (None, None)


@pytest.mark.parametrize("name", ["_get_session_from_db", "_aget_session_from_db"])
def test_an_engine_with_a_look_up_of_its_own_keeps_it(name):
    engine = type("SessionStore", (django_db.SessionStore,), {name: lambda self: None})
    session = attached(engine("k" * 32))
    assert not isinstance(session, session_engine.CompiledLookupMixin)
    assert getattr(type(session), name) is getattr(engine, name)


def test_a_copy_has_data_and_a_state_of_its_own(engine):
    ours = attached(engine())
    ours["cat"] = "dog"
    ours.save()
    copied = copy.copy(ours)
    assert type(copied) is type(ours)
    assert (copied.session_key, copied["cat"]) == (ours.session_key, "dog")
    assert session_state.of(copied) is not session_state.of(ours)
    copied.save(must_create=False)
    assert engine(ours.session_key)["cat"] == "dog"


@pytest.mark.parametrize("name", ["db", "file"])
def test_a_pickled_session_comes_back_as_the_engines(name, settings, tmp_path, monkeypatch):
    settings.SESSION_ENGINE = f"{DJANGO}.{name}"
    monkeypatch.setattr(django_file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    plain = import_module(settings.SESSION_ENGINE).SessionStore
    ours = attached(plain())
    ours["cat"] = "dog"
    ours.save()
    back = pickle.loads(pickle.dumps(ours))
    assert type(back) is plain
    assert (back.session_key, back["cat"]) == (ours.session_key, "dog")


def test_a_lazily_wrapped_session_is_attached(engine):
    session = engine()
    session["cat"] = "dog"
    session.save()
    lazy = SimpleLazyObject(lambda: engine(session.session_key))
    assert attached(lazy)["cat"] == "dog"
    assert isinstance(lazy, django_sessions.LoginSessionStore)


def test_a_rotation_keeps_what_an_engine_of_the_projects_knows(settings, login):
    settings.SESSION_ENGINE = __name__
    used = login("session")
    session = SessionStore(used.browser.session_cookie, user_agent="Shop/1.0")
    old = session.session_key
    django_sessions.rotate_session(attached(session), used.sid)
    assert session.session_key != old
    assert SessionStore(session.session_key)["saved from"] == "Shop/1.0"
    assert session.user_agent == "Shop/1.0"
    used.browser.cookies["sessionid"] = session.session_key
    assert used.get().status_code == 200


def test_a_session_that_a_view_opens_anew_follows_rotations_too(settings, login):
    """allauth's `statekit` opens a request's session again by its class and its key."""
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0)
    used = login("session")
    ours = attached(
        import_module(settings.SESSION_ENGINE).SessionStore(used.browser.session_cookie)
    )
    reopened = ours.__class__(ours.session_key)
    assert reopened[SESSION_KEY]
    used.get()
    newest = used.browser.session_cookie
    reopened["cat"] = "dog"
    reopened.save()
    assert reopened.session_key == newest
    assert import_module(settings.SESSION_ENGINE).SessionStore(newest)["cat"] == "dog"


# -- a process that is killed between the commit and the store -------------------------------

OUTSIDE = ["backends.cache", "backends.cached_db", "backends.file"]


@pytest.fixture
def killed_after_commit(monkeypatch):
    """Have processes die right after a commit; call it to have them live on."""
    plain = transaction.on_commit
    monkeypatch.setattr(transaction, "on_commit", lambda *args, **kwargs: None)
    return lambda: monkeypatch.setattr(transaction, "on_commit", plain)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("engine", ["backends.cache", "backends.cached_db"])
def test_a_cached_session_is_refused_at_once_after_a_kill(
    engine, login, settings, killed_after_commit
):
    settings.SESSION_ENGINE = f"django.contrib.sessions.{engine}"
    used = login("session")
    registry.revoke(used.row)
    assert used.get().status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("again", ["revoke", "revoke_user"])
@pytest.mark.parametrize("engine", OUTSIDE)
def test_a_second_revocation_deletes_what_a_kill_has_left(
    engine, again, login, settings, killed_after_commit, tmp_path, monkeypatch
):
    settings.SESSION_ENGINE = f"django.contrib.sessions.{engine}"
    monkeypatch.setattr(django_file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    used = login("session")
    registry.revoke(used.row)
    cache.delete(session_store.TOMBSTONE + used.row.session_key)
    killed_after_commit()
    row = used.row
    if again == "revoke":
        assert registry.revoke(row) is False
    else:
        assert registry.revoke_user(row.user) == 0
    assert used.get().status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("engine", OUTSIDE)
def test_a_revocation_that_is_rolled_back_leaves_the_cookie(
    engine, login, settings, tmp_path, monkeypatch
):
    settings.SESSION_ENGINE = f"django.contrib.sessions.{engine}"
    monkeypatch.setattr(django_file.SessionStore, "_storage_path", str(tmp_path), raising=False)
    used = login("session")
    with transaction.atomic(using=write_database()):
        registry.revoke(used.row)
        transaction.set_rollback(True, using=write_database())
    assert used.get().status_code == 200


# -- a login writes its session once -----------------------------------------------------------


@pytest.fixture
def receiver():
    """A receiver of Django's signal that is called before ours; connected by the test."""
    connected = []

    def connect(receive):
        user_logged_in.connect(receive, weak=False)
        user_logged_in.receivers.insert(0, user_logged_in.receivers.pop())
        user_logged_in.sender_receivers_cache.clear()
        connected.append(receive)

    yield connect
    for receive in connected:
        assert user_logged_in.disconnect(receive)


def test_a_receiver_finds_the_session_of_a_login_in_its_store(alice, receiver):
    """As with a list of sessions of a project's own, which refers to Django's table."""
    found = []

    def look(request, **kwargs):
        found.append(Session.objects.filter(session_key=request.session.session_key).exists())

    receiver(look)
    browser = Browser()
    assert sign_in("session", browser).status_code == 200
    assert found == [True]
    assert browser.get(API).status_code == 200


def test_what_a_view_changes_after_the_login_is_saved(alice):
    """Even within a list, which compares equal to itself."""

    def change(request, **kwargs):
        request.session["account_authentication_methods"][0]["changed"] = True
        request.session.modified = True

    allauth_logged_in.connect(change)
    try:
        assert sign_in("session").status_code == 200
    finally:
        allauth_logged_in.disconnect(change)
    stored = Session.objects.get().get_decoded()
    assert stored["account_authentication_methods"][0]["changed"] is True


def test_a_key_that_a_view_changes_after_the_login_is_saved(alice):
    def change(request, **kwargs):
        request.session.cycle_key()

    browser = Browser()
    allauth_logged_in.connect(change)
    try:
        assert sign_in("session", browser).status_code == 200
    finally:
        allauth_logged_in.disconnect(change)
    assert browser.get(API).status_code == 200
    assert Session.objects.get().session_key == browser.cookies["sessionid"].value


@pytest.mark.parametrize("remember", [True, False])
def test_the_session_of_a_login_is_written_with_its_expiry(remember, alice):
    browser = Browser()
    body = {"username": "alice", "password": PASSWORD, "remember": remember}
    with CaptureQueriesContext(connection) as captured:
        assert browser.send_json("/auth/login/", body).status_code == 200
    written = [each["sql"].split()[0] for each in captured if "django_session" in each["sql"]]
    assert written == ["INSERT"]
    assert bool(browser.cookies["sessionid"]["max-age"]) is remember
    assert Session.objects.get().get_decoded()["_session_expiry"] == (1209600 if remember else 0)


@pytest.mark.parametrize(
    ("engine", "database", "is_deferred"),
    [
        ("django.contrib.sessions.backends.db", write_database, True),
        ("authmodes.sessions.db", write_database, True),
        ("django.contrib.sessions.backends.db", lambda: "other", False),
        ("django.contrib.sessions.backends.cached_db", write_database, False),
        ("authmodes.sessions.cached_db", write_database, False),
        ("django.contrib.sessions.backends.cache", write_database, False),
        ("django.contrib.sessions.backends.file", write_database, False),
    ],
)
def test_only_a_session_of_the_rows_transaction_is_written_with_it(
    engine, database, is_deferred, settings, monkeypatch, db
):
    """A store outside it would keep the session of a login that is rolled back."""
    settings.SESSION_ENGINE = engine
    monkeypatch.setattr(django_sessions, "write_database", database)
    session = session_store.engine()()
    django_sessions.attach_store(session)
    with django_sessions.defer_insert(session):
        session.cycle_key()
        assert session.exists(session.session_key) is not is_deferred
        django_sessions.insert_deferred(session)
        assert session.exists(session.session_key)
    session.flush()
