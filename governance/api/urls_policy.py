"""The routes about policy sets, simulations, explanations and jobs."""

from __future__ import annotations

from django.urls import URLPattern, path

from governance.api import views_conformance, views_jobs, views_simulations

urlpatterns: list[URLPattern] = [
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
]
