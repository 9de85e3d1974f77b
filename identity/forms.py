"""The login form: user name, password and code on one page, with one answer for every failure."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import authenticate
from django.http import HttpRequest

from identity.factors import confirmed_factor
from identity.models import User
from kernel.clock import utc_now

REFUSED = "User name, password or code is not right, or it is too early to try again."


class LoginForm(forms.Form):
    """Takes the place of Django's authentication form in a `LoginView` or an `AdminSite`.

    When valid, `get_user()` is a person with a live membership whose password and one-time code were
    both right; the code is used up. The person carries `otp_device`, so Django's `login()` marks the
    session as verified through django-otp. A wrong code counts towards the wait, a wrong password does
    not use up a code.
    """

    username = forms.CharField(
        max_length=150,
        widget=forms.TextInput(
            attrs={"autofocus": True, "autocomplete": "username", "autocapitalize": "none"}
        ),
    )
    password = forms.CharField(
        max_length=256, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )
    code = forms.CharField(
        max_length=6,
        label="One-time code",
        widget=forms.TextInput(attrs={"autocomplete": "one-time-code", "inputmode": "numeric"}),
    )
    error_messages = {"invalid_login": REFUSED, "inactive": REFUSED}

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        self.request = request
        self.user_cache: User | None = None
        super().__init__(*args, **kwargs)

    def clean(self) -> dict[str, Any]:
        """Prove the person or raise the one error; field errors are not told apart from it."""
        values = self.cleaned_data
        person = authenticate(
            self.request, username=values.get("username", ""), password=values.get("password", "")
        )
        self.user_cache = _second_factor(person, values.get("code", ""))
        if self.user_cache is None or self.errors:
            self.user_cache = None
            self.errors.clear()
            raise forms.ValidationError(REFUSED, code="invalid_login")
        return values

    def get_user(self) -> User | None:
        """Return the person who was proved, or None."""
        return self.user_cache


def _second_factor(person: object, code: str) -> User | None:
    if not isinstance(person, User) or not person.is_staff:
        return None
    factor = confirmed_factor(user=person, code=code, now=utc_now())
    if factor is None:
        return None
    person.otp_device = factor  # type: ignore[attr-defined]  # the name django-otp reads at login
    return person
