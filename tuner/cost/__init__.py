"""What kernels would take, by formulas: for CPUs that are not at hand, and to start a search from.

`estimate` adds up the parts of one call: products by the rules of the core, data by how far they
come, copies, transforms and threads. How much each part counts was fitted to spaces that were
measured in full (``python -m luthier.tuner.cost.fit``); ``python -m luthier.tuner.cost.validate``
tells how well that ranks configs that the factors were not fitted to. See
``docs/design/cost-model.md``.
"""

from luthier.tuner.cost.estimate import Estimate, estimate
from luthier.tuner.cost.rank import estimate_task, ranked, record_estimates

__all__ = ["Estimate", "estimate", "estimate_task", "ranked", "record_estimates"]
