"""Values of a metric that need no network: what any model of a task has to beat."""

import torch
from torch import Tensor


def majority_class(train: Tensor, test: Tensor) -> float:
    """Accuracy on labels `test` (n,) of the answer that is commonest among labels `train` (m,); both int64."""
    return float((test == train.bincount().argmax()).double().mean())


def logistic_regression(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Accuracy of scikit-learn's logistic regression (L2, C = 1) on `test`, fitted on `train`.

    Args:
        train: features (m, d) and labels int64 (m,).
        test: the same, (n, d) and (n,).
    """
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="newton-cholesky")  # exact, and fast where m is much larger than d
    model.fit(train[0].double().numpy(), train[1].numpy())
    return float((torch.from_numpy(model.predict(test[0].double().numpy())) == test[1]).double().mean())
