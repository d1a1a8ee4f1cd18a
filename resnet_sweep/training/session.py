"""What lives from run to run in one process."""

from __future__ import annotations

from resnet_sweep.data import ImageData, open_data
from resnet_sweep.data.config import DataConfig


class Session:
    """Keeps what is dear between the runs of a process: the opened data set.

    The next run of the same data settings starts without looking at the disk again.
    """

    def __init__(self) -> None:
        self._config: DataConfig | None = None
        self._data: ImageData | None = None

    def data(self, config: DataConfig) -> ImageData:
        """The decoded data set, opened once for consecutive runs with equal settings.

        Raises:
            DataError: The images on disk are not what the settings need.
        """
        if self._data is None or config != self._config:
            self._config, self._data = config, open_data(config)
        return self._data
