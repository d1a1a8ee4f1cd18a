"""What stands for applications of readers: the smallest that take the commands of the pages."""

# Applications of the reader's, by their script: what they have of ours is the sweeper.
STAND_INS = {
    "app.py": {"config": "lr: 0.1\nmodel: a\n"},
    # As lightning-hydra-template: groups, an experiment, and a sweep as it was for Optuna's.
    "src/train.py": {
        "config": """
defaults:
  - _self_
  - data: mnist
  - model: mnist
  - trainer: default
  - experiment: null
  - hparams_search: null
seed: null
""",
        "data/mnist": "batch_size: 128\n",
        "model/mnist": "optimizer: {lr: 0.001}\nnet: {lin1_size: 1, lin2_size: 1, lin3_size: 1}\n",
        "trainer/default": "max_epochs: 10\n",
        "experiment/example": "# @package _global_\nseed: 12345\ntrainer: {max_epochs: 20}\n",
        "hparams_search/mnist_optuna": """# @package _global_
defaults:
  - override /hydra/sweeper: optuna
optimized_metric: val/acc_best
hydra:
  mode: MULTIRUN
  sweeper:
    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 20
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      n_startup_trials: 10
    params:
      model.optimizer.lr: interval(0.0001, 0.1)
      data.batch_size: choice(32, 64, 128, 256)
""",
    },
}
