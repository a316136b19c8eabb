"""Answers on stdout, for programs and for readers."""

import json


def print_json(result: dict) -> None:
    """JSON has no NaN: such figures become null."""
    import math

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(clean(result)))


def print_table(rows: dict[str, dict[str, float]]) -> None:
    import pandas as pd

    print(pd.DataFrame(rows).T.to_string(float_format="%.4f"))
