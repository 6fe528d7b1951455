"""Run one benchmark: ``python -m benchmarks NAME [options]``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the module named by the first argument."""
    folder = Path(__file__).parent
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"Usage: python -m benchmarks NAME [options], with NAME one of: {', '.join(names)}")
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
