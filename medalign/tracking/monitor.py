"""CPU, memory, disk and device use of the driver's machine, on the comparison's run."""

from __future__ import annotations

import importlib.util
import logging
import threading
from typing import Any

_STOP_SECONDS = 10.0
_log = logging.getLogger(__name__)


class MachineMonitor:
    """Samples the machine in a thread of MLflow's, for as long as the comparison lasts.

    Nothing that goes wrong in here reaches the comparison.
    """

    def __init__(self, uri: str, run_id: str) -> None:
        self._monitor: Any = None
        if importlib.util.find_spec("psutil") is None:
            return
        try:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            # A sample that meets a busy store is lost, and its traceback would tear the live table.
            logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
            # A comparison that is continued goes on after its last sample.
            self._monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
            self._monitor.start()
        except Exception as error:
            # Whatever a probe of the machine raises is no reason to end a comparison.
            _log.info("no system metrics: %s", error)
            self._monitor = None

    def stop(self) -> None:
        """Ends the sampling; waits a limited time only, since the thread may hang in a store that is gone."""
        if self._monitor is None:
            return
        thread = threading.Thread(target=self._monitor.finish, name="stop-machine-monitor", daemon=True)
        thread.start()
        thread.join(timeout=_STOP_SECONDS)
        self._monitor = None
