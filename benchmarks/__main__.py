"""Run one benchmark: ``python -m benchmarks NAME [options]``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the module named by the first argument."""
    folder = Path(__file__).parent
    names = sorted(path.stem.replace("_", "-") for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"Usage: python -m benchmarks NAME [options], with NAME one of: {', '.join(names)}")
    module = sys.argv[1].replace("-", "_")
    importlib.import_module(f"benchmarks.{module}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
