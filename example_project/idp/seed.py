"""Fills the identity provider: its people and the one client it serves; safe to run again."""

import os

import django


def main() -> None:
    """Bring the database up to date and write what the demo needs into it."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.idp.settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    seed_people()
    seed_client()


def seed_people() -> None:
    """Make the demo's accounts under their fixed ids, with verified addresses."""
    from allauth.account.models import EmailAddress
    from django.contrib.auth.models import User

    from example_project.people import IDP_PEOPLE

    for person in IDP_PEOPLE:
        assert person.subject is not None
        # allauth's provider names a user by primary key: the `sub` the site knows.
        user, _ = User.objects.update_or_create(
            pk=person.subject,
            defaults={
                "username": person.username,
                "email": person.email,
                "first_name": person.first_name,
                "last_name": person.last_name,
                "is_active": True,
            },
        )
        if not user.check_password(person.password):
            user.set_password(person.password)
            user.save()
        EmailAddress.objects.update_or_create(
            user=user, email=person.email, defaults={"verified": True, "primary": True}
        )


def seed_client() -> None:
    """Register the site, at the address it has this time."""
    from allauth.idp.oidc.models import Client

    from example_project import environment as env

    client = Client.objects.filter(pk=env.OIDC_CLIENT_ID).first() or Client(pk=env.OIDC_CLIENT_ID)
    client.name = "authmodes example"
    client.type = Client.Type.CONFIDENTIAL
    client.skip_consent = True
    client.set_scopes(["openid", "profile", "email"])
    client.set_redirect_uris(
        [
            f"{env.SITE_URL}/accounts/oidc/{env.OIDC_PROVIDER_ID}/login/callback/",
            # For an app that fetches the code itself and posts it to the site.
            f"{env.SITE_URL}/spa/",
        ]
    )
    # Where a browser may come back to that has signed out here as well.
    client.set_post_logout_redirect_uris([f"{env.SITE_URL}/spa/", f"{env.SPA_URL}/"])
    client.set_secret(env.OIDC_CLIENT_SECRET)
    client.save()


if __name__ == "__main__":
    main()
