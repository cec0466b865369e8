"""The Plan: model, target, engine, parallelism, precision, memory and one kernel per problem, each with its reasons."""

from glm_rocm.plan.disaggregation import Disaggregation
from glm_rocm.plan.plan import PLAN_VERSION, Plan, make_plan

__all__ = ["PLAN_VERSION", "Disaggregation", "Plan", "make_plan"]
