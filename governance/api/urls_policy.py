"""The routes about policy sets, simulations, explanations and jobs."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import (
    views_conformance,
    views_explain,
    views_jobs,
    views_policy_activation,
    views_policy_sets,
    views_simulations,
)

_SET = "policy-sets/<str:set_id>"

urlpatterns: list[URLPattern] = [
    path("policy-sets", views_policy_sets.PolicySets.as_view()),
    path("policy-sets/import", views_policy_sets.PolicySetImport.as_view()),
    path(_SET, views_policy_sets.PolicySetDetail.as_view()),
    path(f"{_SET}/files/<str:file_name>", views_policy_sets.PolicySetFile.as_view()),
    path(f"{_SET}/validate", views_policy_sets.PolicySetValidate.as_view()),
    path(f"{_SET}/diff", views_policy_sets.PolicySetDiff.as_view()),
    path(f"{_SET}/export", views_policy_sets.PolicySetExport.as_view()),
    path(f"{_SET}/activate", views_policy_activation.PolicySetActivate.as_view()),
    path(f"{_SET}/rollback", views_policy_activation.PolicySetRollback.as_view()),
    path("policy/check", views_policy_sets.PolicyCheck.as_view()),
    path("policy-sets/<str:set_id>/simulate", views_simulations.PolicySetSimulate.as_view()),
    path("policy-sets/<str:set_id>/simulations", views_simulations.PolicySetSimulations.as_view()),
    path(
        "policy-sets/<str:set_id>/simulations/<str:number>",
        views_simulations.PolicySimulationDetail.as_view(),
    ),
    path(
        "policy-sets/<str:set_id>/simulations/<str:number>/flips",
        views_simulations.PolicySimulationFlips.as_view(),
    ),
    path("policy-sets/<str:set_id>/shadow", views_simulations.PolicySetShadow.as_view()),
    path("policy-sets/<str:set_id>/shadow-results", views_simulations.PolicyShadowResults.as_view()),
    path("jobs", views_jobs.Jobs.as_view()),
    path("jobs/<str:job_id>", views_jobs.JobDetail.as_view()),
    path("jobs/<str:job_id>/cancel", views_jobs.JobCancel.as_view()),
    path("policy/conformance", views_conformance.PolicyConformance.as_view()),
    path("policy/explain", views_explain.PolicyExplain.as_view()),
    path("policy/schema", views_explain.PolicySchemaText.as_view()),
]
