"""A foreign Hydra application whose trials fail in every way, and prove who wrote a folder."""

import hydra
from fault_task import run
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="config", execution_whitelist=["fault_task.*"])
def main(cfg: DictConfig) -> object:
    return run(cfg)


if __name__ == "__main__":
    main()
