"""A Hydra application whose trials agree on their data: a file for each slot."""

import hydra
from changed_task import run
from omegaconf import DictConfig


@hydra.main(config_path="conf", config_name="config", execution_whitelist=["changed_task.*"])
def main(cfg: DictConfig) -> float:
    return run(cfg)


if __name__ == "__main__":
    main()
