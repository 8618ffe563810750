"""One elastic training, and from it models of several sizes: trained once, searched, cut out, fine-tuned."""

from paretorch.pipelines.elastic.member import Elastic
from paretorch.pipelines.elastic.search import Budgets
from paretorch.pipelines.elastic.training import ElasticRun
from paretorch.pipelines.elastic.widths import Widths

__all__ = ["Budgets", "Elastic", "ElasticRun", "Widths"]
