from django.apps import AppConfig


class GovernanceConfig(AppConfig):
    """The pipeline, the journal and their surfaces."""

    name = "governance"

    def ready(self) -> None:
        from governance.journal import guards  # registers its system check

        assert guards.GUARDED
