"""The fields of the door. What they mean is decided by the operation that takes them."""

from __future__ import annotations

from django import forms


class LoginForm(forms.Form):
    """User name, password and code on one page; nothing typed is told right or wrong by itself."""

    username = forms.CharField(
        max_length=150,
        required=False,
        label="User name",
        widget=forms.TextInput(
            attrs={"autofocus": True, "autocomplete": "username", "autocapitalize": "none", "required": True}
        ),
    )
    password = forms.CharField(
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password", "required": True}),
    )
    code = forms.CharField(
        required=False,
        label="One-time code",
        help_text="From your authenticator, or one of your recovery codes. "
        "Leave it empty if you have not set one up yet.",
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autocapitalize": "characters", "spellcheck": "false"}
        ),
    )
