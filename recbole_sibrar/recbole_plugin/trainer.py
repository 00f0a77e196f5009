"""RecBole's trainers under the protocol: candidates, cold entities of models without content, plain checkpoints."""

from collections.abc import Callable
from math import isnan
from pathlib import Path
from secrets import token_hex
from time import perf_counter
from typing import Any, TypeVar

import pandas as pd
import torch
from recbole.config import Config
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import AbstractRecommender
from torch import Tensor

from recbole_sibrar import checkpoint
from recbole_sibrar.errors import TrainingError
from recbole_sibrar.evaluation.protocol import Phase
from recbole_sibrar.evaluation.ranking import Ranking
from recbole_sibrar.files import make_folder, save_tensors
from recbole_sibrar.models.core import InnerProductModel
from recbole_sibrar.models.optimizer import TableAdamW, large_tables
from recbole_sibrar.models.penalties import PenaltyPath
from recbole_sibrar.progress import steps
from recbole_sibrar.recbole_plugin import distributed, random_state
from recbole_sibrar.recbole_plugin.capabilities import capabilities_of, known_as
from recbole_sibrar.recbole_plugin.checks import check_sizes, options_blamed
from recbole_sibrar.recbole_plugin.loaders import RATE, TrainLoader
from recbole_sibrar.report.tables import write_csv
from recbole_sibrar.scenarios import SCENARIOS

Returned = TypeVar("Returned")


class ProtocolTrainer:
    """Mixed into a RecBole trainer class, in front of it.

    Attributes:
        seconds: {"train": [...], "valid": [...]}, one entry for each epoch.
        history: [{"epoch", "loss", "valid"}], training loss and validation score (None where not validated).
        progress: told of each epoch; None for RecBole's own bars, a pass over the data each.
        trained_on: what the checkpoint says of that, ``checkpoint.SPLIT`` or ``EVERYTHING``.
    """

    PAIRS_PER_PREDICTION = 4096
    USERS_PER_RANKING = 1024
    trained_on = checkpoint.SPLIT
    epochs: int
    eval_step: int
    saved_model_file: str
    learning_rate: float

    def __init__(self, config: Config, model: AbstractRecommender):
        make_folder(config["checkpoint_dir"])  # RecBole's way fails if another process does
        super().__init__(config, model)
        if config["single_spec"]:  # RecBole's own distributed processes have to agree
            self.saved_model_file = self._file_of_its_own()
        self.seconds: dict[str, list[float]] = {"train": [], "valid": []}
        self.history: list[dict[str, Any]] = []
        if config["scenario"] is not None:
            self.test_batch_size = self.PAIRS_PER_PREDICTION
        self._phase = None
        self._shared_loss = None
        self._best_solved: dict[str, Any] | None = None
        self.progress = None
        self.progress_file = self.history_file = None
        self._epoch = 0
        self.n_finished_epochs = 0
        self._resumed: tuple[Path | str, dict[str, str]] | None = None

    def _file_of_its_own(self) -> str:
        """RecBole names a checkpoint by the second in which training starts, and so do other processes."""
        file = Path(self.saved_model_file)
        return str(file.with_stem(f"{file.stem}-{distributed.from_main(lambda: token_hex(4))}"))

    @property
    def _core(self) -> InnerProductModel | None:
        """The model behind the adapter, if it is one of ours."""
        core = getattr(self.model, "core", None)
        return core if isinstance(core, InnerProductModel) else None

    @property
    def _solver(self) -> PenaltyPath | None:
        return self._core if isinstance(self._core, PenaltyPath) else None

    def _build_optimizer(self, **kwargs: object) -> torch.optim.Optimizer:
        """Our models' Adam and AdamW in one pass, or without one over large tables where that is possible.

        It is not where gradients are clipped, scaled or shared by several processes, since these want them whole, and
        with Adam's weight decay, which is part of a gradient.
        """
        self.learning_rate = self.learning_rate or RATE  # until ``fit`` knows the batches
        optimizer = super()._build_optimizer(**kwargs)
        if self._core is None or not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
            return optimizer
        for group in optimizer.param_groups:
            group["fused"] = True
        decay = optimizer.param_groups[0]["weight_decay"]
        is_alone = not self.clip_grad_norm and not self.enable_scaler and distributed.size() == 1
        is_decoupled = isinstance(optimizer, torch.optim.AdamW) or not decay
        tables = large_tables(self._core)
        if not tables or not is_alone or not is_decoupled or not TableAdamW.suits(self.learning_rate, decay):
            return optimizer
        return TableAdamW(self.model.parameters(), tables, self.learning_rate, decay)

    def fit(
        self,
        train_data: AbstractDataLoader,
        valid_data: AbstractDataLoader | None = None,
        verbose: bool = True,
        saved: bool = True,
        *args: object,
        **kwargs: object,
    ) -> tuple[float, dict[str, float]]:
        self._training_split = train_data._dataset
        check_sizes(self.config, train_data._dataset)
        if self.config["learning_rate"] is None and isinstance(train_data, TrainLoader):
            self.learning_rate = train_data.learning_rate
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate
            self.logger.info(f"Batches of {train_data.step:,}, learning rate {self.learning_rate:.3g}")
        if self._resumed is not None:
            checkpoint.check_same_data(*self._resumed, train_data._dataset.read, self.config["dataset"])
        if self.progress is not None:
            self.progress.begin_at(self.start_epoch)
        phase = getattr(valid_data, "phase", None)
        if phase is not None and only_fallback(self.model, phase):
            self.epochs = min(self.epochs, self.start_epoch + 1)
            self.logger.warning(
                f"{type(self.model).__name__} has no score for what is evaluated here, only the fallback of "
                f"{cold_fallback(self.model, phase)}; it trains for one epoch, since more could not change a metric."
            )
        if phase is not None and self._core is not None:
            for side, n in without_content(self.model, self._core, phase).items():
                self.logger.warning(
                    f"None of the {n:,} cold {side}s to be evaluated has a modality that {type(self.model).__name__} "
                    f"reads: all of them are the mean {side} to it, and metrics say nothing of the model."
                )
        self.eval_step = min(self.eval_step, self.epochs)  # fewer than those asked for here and in closed forms
        if self._core is not None:
            distributed.main_first(lambda: self.model.pretrain(self.config))
        self._shared_loss = distributed.shared_loss(self.model)
        try:
            with options_blamed(self.config):
                best = super().fit(train_data, valid_data, verbose, saved, *args, **kwargs)
            if phase is not None and self._core is not None and self._core.calibrates and saved and self._has_new_items:
                self._calibrate(phase)
            return best
        finally:
            self._save_best_solved()
            self.tensorboard.close()  # else its thread and file stay, of each trial of a search

    @property
    def _has_new_items(self) -> bool:
        """Whether validation holds out items; else those that happen to be without training interactions have few."""
        return "item" in SCENARIOS[self.config["scenario"]].cold_sides

    def _calibrate(self, phase: Phase) -> None:
        """The model of the best epoch, and its checkpoint. The scores that chose the epoch are those before."""
        state = self._load(self.saved_model_file)
        checkpoint.restore(self.model, state)
        self.model.eval()
        items = (phase.candidates & phase.cold_items).nonzero().squeeze(1)
        self._core.calibrate(phase.positives.to(self.device), items.to(self.device))
        if distributed.is_main():
            save_tensors(self.saved_model_file, {**state, "state_dict": self.model.state_dict()})

    def _train_epoch(self, train_data: AbstractDataLoader, epoch_idx: int, *args: object, **kwargs: object) -> Any:
        if self.progress_file is not None and epoch_idx > self.start_epoch:
            self._save_progress(train_data, epoch_idx)
        self._epoch = epoch_idx + 1
        self._tell(epoch_idx)
        if self._shared_loss is not None:
            kwargs["loss_func"] = self._shared_loss
        result = self._timed("train", super()._train_epoch, train_data, epoch_idx, *args, **kwargs)
        if isinstance(self.optimizer, TableAdamW):
            self.optimizer.finish()
        result = distributed.mean(result)
        self.n_finished_epochs = epoch_idx + 1
        loss = sum(result) if isinstance(result, tuple) else result
        self.history.append({"epoch": epoch_idx + 1, "loss": float(loss or 0), "valid": None})
        return result

    def _valid_epoch(self, *args: object, **kwargs: object) -> tuple[float, dict[str, float]]:
        score, result = self._timed("valid", super()._valid_epoch, *args, **kwargs)
        if isnan(score):
            raise TrainingError(
                f"{self.valid_metric.upper()} of the validation split is NaN: no user there has a value of it. Choose "
                "by another valid_metric."
            )
        if self.history:
            self.history[-1]["valid"] = float(score)
        self._tell(self.n_finished_epochs)
        return score, result

    def _tell(self, done: int) -> None:
        """How many epochs are done, and the best score of them."""
        if self.progress is not None:
            seen = [(entry["valid"], entry["epoch"]) for entry in self.history if entry["valid"] is not None]
            best = (max if self.valid_metric_bigger else min)(seen, key=lambda entry: entry[0], default=None)
            self.progress.update(
                done, "" if best is None else f"best {self.valid_metric.upper()} {best[0]:.4f} (epoch {best[1]})"
            )

    def _check_nan(self, loss: Tensor) -> None:
        if not torch.isfinite(loss).all():
            raise self._diverged(f"has the training loss {loss.sum().item()} in epoch {self._epoch}")

    def _diverged(self, what: str) -> TrainingError:
        temperature = self.config["temperature"] if self.config["variant"] in (None, "SC") else None
        hints = [
            f"lower learning_rate ({self.learning_rate})",
            *([f"raise temperature ({temperature})"] if temperature is not None else []),
            *([] if self.clip_grad_norm else ["set clip_grad_norm='{max_norm: 1}'"]),
        ]
        return TrainingError(f"{type(self.model).__name__} {what}: {' or '.join(hints)}.")

    def _timed(self, what: str, function: Callable[..., Returned], *args: object, **kwargs: object) -> Returned:
        start = perf_counter()
        result = function(*args, **kwargs)
        self.seconds[what].append(perf_counter() - start)
        return result

    def evaluate(
        self,
        eval_data: AbstractDataLoader,
        load_best_model: bool = True,
        model_file: Path | str | None = None,
        show_progress: bool = False,
    ) -> dict[str, float] | None:
        if not eval_data:
            return None
        phase = getattr(eval_data, "phase", None)
        if load_best_model:
            path = model_file or self.saved_model_file
            state = self._load(path)
            checkpoint.check_same_data(path, state["data"], eval_data._dataset.read, self.config["dataset"])
            if phase is not None:
                checkpoint.check_held_out(path, state, phase.positives)
            checkpoint.restore(self.model, state)
        self._phase = self.eval_collector.phase = phase
        self._generator = torch.Generator().manual_seed(self.config["seed"] + distributed.rank())
        self._cold = {} if self._phase is None else cold_fallback(self.model, self._phase)
        if self._ranks_by_embeddings():
            return self._rank_by_embeddings(eval_data.users, show_progress)
        return super().evaluate(eval_data, load_best_model=False, show_progress=show_progress)

    def _ranks_by_embeddings(self) -> bool:
        has_protocol = self._phase is not None and not self._cold
        is_one = self.config["single_spec"]  # no process of RecBole's own distributed training
        by_embeddings = self._core is not None and self.model.ranks_by_embeddings
        return has_protocol and is_one and by_embeddings and self.eval_collector.lists_suffice

    @torch.no_grad()
    def _rank_by_embeddings(self, users: Tensor, show_progress: bool) -> dict[str, float]:
        """As RecBole's ``evaluate``, but that its collector is given the lists, and no table of scores is made."""
        self.model.eval()
        items, collector = self.model.item_embeddings(), self.eval_collector
        ranking = Ranking(self._phase, items, collector.order(len(items)), max(collector.topk))
        for part in steps(users.split(self.USERS_PER_RANKING), "Evaluate", quiet=not show_progress):
            lists = ranking.lists(part, self.model.user_embeddings(part.to(self.device)))
            self._check_defined(lists.undefined)
            collector.add_lists(part, lists)
        collector.model_collect(self.model)
        result = self.evaluator.evaluate(collector.get_data_struct())
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result

    def _full_sort_batch_eval(self, batched_data: tuple[Any, ...]) -> tuple[Any, ...]:
        users = batched_data[0][self.config["USER_ID_FIELD"]]
        interaction, scores, positive_u, positive_i = super()._full_sort_batch_eval(batched_data)
        if self._phase is not None:
            scores[:, (~self._phase.candidates).to(scores.device)] = -torch.inf
        self._check_defined(torch.isnan(scores).any())
        if self._cold:
            scores = self._without_untrained(scores, users)
        return interaction, scores, positive_u, positive_i

    def _check_defined(self, undefined: bool | Tensor) -> None:
        if undefined:
            raise self._diverged(f"gives NaN as scores after epoch {self._epoch}")

    def _without_untrained(self, scores: Tensor, users: Tensor) -> Tensor:
        """Replace the scores that rest on untrained ids.

        A cold user of a model that needs a user's history gets the training popularity; cold items of a model without
        content rank behind every other candidate, in an order drawn anew for each user.
        """
        cold = self._cold
        ranked = scores > -torch.inf
        if "user" in cold:
            rows = self._phase.cold_users.to(scores.device)[users.to(scores.device)]
            count = self._phase.popularity * ~self._phase.cold_items
            scores = torch.where(rows.unsqueeze(1), count.to(scores), scores)
        if "item" in cold:
            columns = self._phase.cold_items.to(scores.device)
            lowest = scores.masked_fill(~ranked | columns, torch.inf).amin(1, keepdim=True)
            lowest = lowest.masked_fill(lowest == torch.inf, 0)
            noise = torch.rand(scores.shape, generator=self._generator).to(scores)
            scores = torch.where(columns, lowest - 1 - noise, scores)
        return scores.masked_fill(~ranked, -torch.inf)

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs: Path | str) -> None:
        if not distributed.is_main() or (not self.config["single_spec"] and self.config["local_rank"] != 0):
            return
        state = {"epoch": epoch, "cur_step": self.cur_step, "best_valid_score": float(self.best_valid_score)}
        path = kwargs.pop("saved_model_file", None)
        if path is None and epoch >= 0 and self._solver is not None:
            self._best_solved = {**state, "step": int(self._solver.step)}
            return
        self._write_checkpoint(path or self.saved_model_file, state)
        if verbose:
            self.logger.info(f"Saved {path or self.saved_model_file}")

    def _save_best_solved(self) -> None:
        """The best penalty alone is written, at the end: solving again takes less than writing each better one."""
        state, self._best_solved = self._best_solved, None
        if state is not None:
            with self._solver.as_of(state.pop("step")):
                self._write_checkpoint(self.saved_model_file, state)

    def _write_checkpoint(self, path: Path | str, state: dict[str, Any]) -> None:
        checkpoint.save(
            path,
            self.config,
            self.model,
            self._training_split,
            with_serving=True,
            trained_on=self.trained_on,
            optimizer=self.optimizer.state_dict(),
            **state,
        )

    def _save_progress(self, train_data: AbstractDataLoader, next_epoch: int) -> None:
        """All that the next epoch depends on, so that a resumed run ends as an uninterrupted one would.

        Beside it a table of the losses and validation scores so far, which is quickly read.
        """
        random = distributed.gather(random_state.capture(train_data))
        if not distributed.is_main():
            return
        write_csv(pd.DataFrame(self.history), self.history_file)
        checkpoint.save(
            self.progress_file,
            self.config,
            self.model,
            train_data._dataset,
            with_serving=False,
            next_epoch=next_epoch,
            cur_step=self.cur_step,
            best_valid_score=float(self.best_valid_score),
            best_valid_result=checkpoint.plain(dict(self.best_valid_result or {})),
            history=self.history,
            seconds=self.seconds,
            optimizer=self.optimizer.state_dict(),
            best_solved=self._best_solved,
            random=random,
        )

    def resume_progress(self, path: Path | str, train_data: AbstractDataLoader) -> None:
        """Go on from a file that ``_save_progress`` wrote."""
        state = self._load(path)
        checkpoint.check_same_options(path, state["config"], checkpoint.plain_config(self.config))
        checkpoint.check_same_data(path, state["data"], train_data._dataset.read, self.config["dataset"])
        checkpoint.restore(self.model, state)
        self.optimizer.load_state_dict(state["optimizer"])
        self.start_epoch = state["next_epoch"]
        self.cur_step, self.best_valid_score = state["cur_step"], state["best_valid_score"]
        self.best_valid_result, self.history = state["best_valid_result"], state["history"]
        self.seconds = state.get("seconds", self.seconds)
        self._best_solved = state.get("best_solved")
        random_state.restore(train_data, state["random"][distributed.rank()])
        self.logger.info(f"Resuming from epoch {self.start_epoch}")

    def _load(self, path: Path | str) -> dict[str, Any]:
        """A checkpoint, which the first process alone needs to reach."""
        return distributed.from_main(lambda: checkpoint.load(path))

    def resume_checkpoint(self, resume_file: Path | str) -> None:
        state = checkpoint.load(resume_file)
        self.saved_model_file = str(resume_file)
        self.start_epoch = state["epoch"] + 1
        self.cur_step = state["cur_step"]
        self.best_valid_score = state["best_valid_score"]
        checkpoint.restore(self.model, state)
        self.optimizer.load_state_dict(state["optimizer"])
        self._resumed = resume_file, state["data"]
        self.logger.info(f"Resuming from epoch {self.start_epoch}")


def cold_fallback(model: AbstractRecommender, phase: Phase) -> dict[str, str]:
    """The cold sides that a model cannot score and what stands in, {"user": ..., "item": ...}; empty if it can."""
    served = capabilities_of(known_as(type(model))).cold_sides
    fallback = {}
    if "user" not in served and phase.cold_users[phase.users].any():
        fallback["user"] = "training popularity"
    if "item" not in served and (phase.cold_items & phase.candidates).any():
        fallback["item"] = "behind all other candidates, in random order"
    return fallback


def only_fallback(model: AbstractRecommender, phase: Phase) -> bool:
    """Whether no held-out interaction is ranked by anything that the model learned."""
    fallback = cold_fallback(model, phase)
    no_user = "user" in fallback and bool(phase.cold_users[phase.users].all())
    return no_user or ("item" in fallback and bool(phase.cold_items[phase.positives.columns].all()))


def without_content(model: AbstractRecommender, core: InnerProductModel, phase: Phase) -> dict[str, int]:
    """{side: how many}, where all entities that are evaluated are cold and none has anything that the model reads."""
    evaluated = {"user": phase.users, "item": phase.positives.columns.unique()}
    cold = {"user": phase.cold_users, "item": phase.cold_items}
    return {
        side: len(ids)
        for side, ids in evaluated.items()
        if side not in cold_fallback(model, phase)
        and bool(cold[side][ids].all())
        and not bool(core.entities(side).read[ids.to(core.entities(side).trained.device)].any())
    }


def protocol_trainer(base: type) -> type:
    """A trainer class of RecBole with the protocol mixed in."""
    return type(base.__name__, (ProtocolTrainer, base), {})
