"""Packs of a study: fits that one job trains, their steps of gradient descent at once (learn.pack).

A fit that is trained stays in the pack it was trained in, which has a file that names its fits; those that are not are
taken as the study has them. So a study that grows trains what is new, and nothing else.
"""

import hashlib
from collections.abc import Iterable

from stoirec.config.bounds import PackSize
from stoirec.config.fit import FitConfig
from stoirec.study.identity import Fit
from stoirec.study.store import Store

_FRAMES, _MOST = 256, 16  # of a step of a whole pack, and fits, beyond which more gain nothing (docs/benchmarks.md)


def largest(size: PackSize, config: FitConfig) -> int:
    """Fits of a pack at most. auto: as many as gain from it; those that are refined do not, one after the other."""
    if size != "auto":
        return size
    return 1 if config.refinement_rounds else max(1, min(_MOST, _FRAMES // config.batch_size))


def packs(fits: Iterable[Fit], size: PackSize, store: Store) -> dict[str, list[str]]:
    """Packs by name, `<data>/<fits>-<hash>`: training_ids of their fits; who is trained alone is in none.

    Fits of a pack come from one stage, share data, what a pack has in common, and the number of steps.
    """
    known, found = store.packed(), {}
    groups: dict[tuple, dict[str, FitConfig]] = {}
    for fit in fits:
        name, config = fit.training_id, fit.config
        if store.fit(name).exists():
            if name in known:
                found.setdefault(known[name], []).append(name)
            continue
        length = config.n_epochs, config.epoch_steps, config.data_augmentation_loop
        alike = fit.data, fit.stage, tuple(config.together.values()), length, largest(size, config)
        groups.setdefault(alike, {})[name] = config
    for (data, *_, most), group in groups.items():
        names = list(group)
        for start in range(0, len(names), most):
            if len(chosen := names[start : start + most]) > 1:
                digest = hashlib.sha256("\n".join(chosen).encode()).hexdigest()[:10]
                found[f"{data}/{len(chosen)}-{digest}"] = chosen
    return found
