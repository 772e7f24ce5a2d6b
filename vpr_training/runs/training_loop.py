"""The training loop.

It stands on Lightning Fabric: devices, strategies and precision are Lightning's, the loop is ours,
because a run must resume in the middle of an epoch with the same next steps, including an epoch's
mean loss, the plateau schedule and the sampler (decision 0008).
"""

import math
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeAlias

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from vpr_training.basics.errors import TrainingError
from vpr_training.data.disturbance import disturbed
from vpr_training.data.loader import TrainingBatches
from vpr_training.learning import schedules
from vpr_training.learning.distillation import Distillation, Student
from vpr_training.learning.losses import PlaceLoss
from vpr_training.models.checkpoints import contents, require_dicts
from vpr_training.models.network import ExportedNetwork, Network, channels_last, differing
from vpr_training.models.tensors import load_state
from vpr_training.runs.progress import Progress
from vpr_training.runs.run_folder import RunFolder, StepLog
from vpr_training.runs.settings import TrainConfig
from vpr_training.runs.start import teacher_network
from vpr_training.runs.validation import Validation

Log: TypeAlias = Callable[[Mapping[str, float], int], object]
"""Takes figures by name, and the step that they are of."""

_REHEARSED = 100  # epochs of the schedule that are tried before training


def no_log(values: Mapping[str, float], step: int) -> None:
    """Log nowhere."""


class Training:
    """One run: its network, optimizer, schedule, batches, and how far it is."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        network: Network,
        batches: TrainingBatches,
        validation: Validation,
        folder: RunFolder,
        provenance: Mapping[str, Any],
    ) -> None:
        """Build optimizer, schedule and loss; TrainingError for settings that cannot be.

        provenance: plain values that an exported model's card will tell.
        """
        distilled = config.distillation
        self._distillation = (
            Distillation(distilled, teacher_network(distilled)) if distilled.teacher else None
        )
        self._provenance = dict(provenance)
        self._fabric, self._config = fabric, config
        self._log: Log = no_log
        self._batches, self._validation, self._folder = batches, validation, folder
        self.network = network
        # Images come as [B, H, W, C]; weights in that order save a copy of each map.
        self._plain = channels_last(ExportedNetwork(network, cells=False))
        if network.cells is not None:
            taught = bool(distilled.teacher) and distilled.cells > 0  # else no loss sees them
            network.cells.requires_grad_(taught)
        learning = [one for one in network.parameters() if one.requires_grad]
        if not learning:
            raise TrainingError('network: no part of it learns; lower network.frozen_stages')
        self._student: Student | None = None
        if self._distillation:
            self._student = self._distillation.student(self._plain)
            learning += self._student.adapter.parameters()
        optimizer = schedules.make_optimizer(config.optimizer, learning)
        self.optimizer = optimizer
        self.scheduler = schedules.make_scheduler(config.scheduler, optimizer)
        self._model, self._optimizer = fabric.setup(self._student or self._plain, optimizer)
        self._loss = PlaceLoss(config.loss)
        self.progress = Progress()
        self._epochs = config.epochs_of(len(batches))
        # What is wrong with its options would else come up after the first epoch.
        schedules.rates_over_epochs(
            config.optimizer, config.scheduler, min(self._epochs, _REHEARSED)
        )
        self._stop = False
        self._steps: StepLog | None = None

    def checkpoint(self) -> dict[str, Any]:
        """Everything that the next step depends on: tensors and plain values only."""
        adapter = {'adapter': self._student.adapter.state_dict()} if self._student else {}
        return {
            **contents(
                self.network, provenance={**self._provenance, 'epoch': self.progress.epoch}
            ),
            **adapter,
            'optimizer': self.optimizer.state_dict(),
            'scheduler': self.scheduler.state_dict(),
            'precision': self._fabric.strategy.precision.state_dict(),
            'progress': asdict(self.progress),
            'random': _random_state(),
        }

    def restore(self, held: Mapping[str, Any], *, source: str) -> list[str]:
        """Go on from a checkpoint; TrainingError if it is of another run's form.

        Returns what the user should know.
        """
        wanted = self.checkpoint()
        if missing := sorted(wanted.keys() - held.keys()):
            raise TrainingError(
                f'{source}: it lacks {", ".join(missing)}, so no run can continue from it'
            )
        require_dicts(held, source=source)
        if others := differing(held['network'], wanted['network']):
            raise TrainingError(
                f'{source}: the checkpoint is of another architecture: {", ".join(others)}'
            )
        load_state(
            self.network,
            held['state_dict'],
            source=source,
            refusal='its tensors are of another architecture',
        )
        try:
            if self._student:
                self._student.adapter.load_state_dict(held['adapter'])
            self.optimizer.load_state_dict(held['optimizer'])
            self.scheduler.load_state_dict(held['scheduler'])
            if held['precision']:  # empty: so far in another precision, which scales no loss
                self._fabric.strategy.precision.load_state_dict(held['precision'])
            progress = held['progress']
            older = {'done': progress['batch'] * self._fabric.world_size}  # they do not say it
            self.progress = Progress(**older | progress)
            self.progress.check()
            _set_random_state(held['random'])
        except Exception as error:  # whatever a value of another type leads to
            raise TrainingError(f'{source}: {" ".join(str(error).split())[:300]}') from error
        self._require_same_judge(source)
        return self._changed_order()

    def _changed_order(self) -> list[str]:
        """What to say where the running epoch goes on with other batches than it began with."""
        progress = self.progress
        self._batches.set_epoch(progress.epoch)
        if not progress.done or progress.order in ('', self._batches.order):
            return []
        return [
            f'note: the rest of epoch {progress.epoch + 1} has other batches than its beginning, '
            'because the seed, the images or a setting such as data.places_per_batch has changed; '
            'it shows some places again and others not at all'
        ]

    def _require_same_judge(self, source: str) -> None:
        """Raise TrainingError where the best epoch so far was chosen by something else."""
        progress, sets = self.progress, self._validation.sets
        if progress.best is None:
            return
        best = next(row for row in progress.history if row['epoch'] == progress.best_epoch)
        scores = {name: value for name, value in best.items() if name.endswith('/R@1')}
        scores['loss'] = -best.get('loss', math.inf)
        judge = f'{sets[0].name}/R@1' if sets else 'loss'
        if scores.get(judge) != progress.best:
            chose = next((name for name, one in scores.items() if one == progress.best), 'another')
            raise TrainingError(
                f'{source}: {chose} has chosen best.ckpt so far, and now {judge} would; leave the '
                'first of validation.roots as it was (sets after it may change), or start a new '
                f'run with --init {source}'
            )

    def run(self, log: Log = no_log) -> Progress:
        """Train to the end; Ctrl-C saves and raises KeyboardInterrupt saying how to go on.

        log: is told the figures of steps and epochs, besides the run's folder.
        """
        self._log = log
        self._steps = self._folder.open_steps(self.progress.step) if self._writes else None
        try:
            with self._told_to_stop():
                if not self.progress.history and self._validation.sets:
                    self._note_start()
                while not self._is_over() and not self._exhausted():
                    self.train_epoch()
                    self._end_epoch()
        finally:
            if self._steps:
                self._steps.close()
        return self.progress

    def _note_start(self) -> None:
        """Epoch 0 of the history is the network before any training."""
        self._save_last()
        row = {'epoch': 0, **self._validate()}
        self._is_best(row)
        self.progress.history.append(row)
        self._save(self._folder.best)
        self._save_last()

    def train_epoch(self) -> None:
        """The batches of the running epoch that are not done yet."""
        self._model.train()
        progress, saved = self.progress, time.monotonic()
        self._batches.set_epoch(progress.epoch, start_batch=progress.done)
        progress.order = self._batches.order
        with self._bar() as bar:
            started = time.monotonic()
            for images, labels in self._batches:
                if 0 < self._config.steps <= progress.step:
                    break
                loss, mined, stop = self._agreed(*self._step(images, labels))
                took, started = time.monotonic() - started, time.monotonic()
                self._count(loss, mined, len(images), took, bar)
                if stop:
                    self._save_and_stop()
                due = time.monotonic() - saved > 60 * self._config.checkpoint_minutes
                if due and self._is_sound():  # else the next loss ends the run
                    self._save_last()
                    saved = time.monotonic()

    def _step(self, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """One optimizer step; images: uint8 [B, H, W, 3]; returns the loss and the mined share."""
        device = self._fabric.device
        images, labels = images.to(device, non_blocking=True), labels.to(device)
        loss, mined = self._loss_of(images, labels)
        self._fabric.backward(loss)
        if self._config.optimizer.gradient_clip:
            self._fabric.clip_gradients(
                self._model, self._optimizer, max_norm=self._config.optimizer.gradient_clip
            )
        warmup = self._config.scheduler.warmup_steps
        with schedules.warmed_up(self.optimizer, self.progress.step, warmup):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach()), mined

    def _agreed(self, loss: float, mined: float) -> tuple[float, float, bool]:
        """Means of all processes, and whether one of them was told to stop.

        All get the same answer: a checkpoint of the first one is right for the others, and none
        waits for one that has ended. Raises TrainingError where the loss is no number.
        """
        stop = float(self._stop)
        if self._fabric.world_size > 1:
            mine = torch.tensor([loss, mined, stop], dtype=torch.float64)
            loss, mined, stop = self._fabric.all_reduce(mine, reduce_op='mean').tolist()  # type: ignore[union-attr]
        if not np.isfinite(loss):
            raise self._diverged(f'the loss is {loss}', self.progress.batch + 1)
        return loss, mined, stop > 0

    def _diverged(self, said: str, batch: int) -> TrainingError:
        return TrainingError(
            f'epoch {self.progress.epoch + 1}, batch {batch}: {said}; lower optimizer.lr or set '
            'optimizer.gradient_clip'
        )

    def _is_sound(self) -> bool:
        """Whether the network, the same in all processes, describes an image with finite numbers.

        The loss is that of the weights before the step, so it tells one step too late.
        """
        config, trains = self._config.network, self._plain.training
        image = torch.arange(config.image_height * config.image_width * 3) % 251
        image = image.to(self._fabric.device, torch.uint8)
        self._plain.eval()
        with torch.inference_mode():
            found = self._plain.describe(
                image.reshape(1, config.image_height, config.image_width, 3)
            )
        self._plain.train(trains)
        return bool(torch.isfinite(found).all())

    def _require_sound(self) -> None:
        """Raise TrainingError for a network that would replace that of a good checkpoint."""
        if not self._is_sound():
            raise self._diverged('the descriptors are no longer numbers', self.progress.batch)

    def _loss_of(self, images: Tensor, labels: Tensor) -> tuple[Tensor, float]:
        """Loss, a scalar, and mined share: by places, or beside a teacher, who mines no pairs."""
        config, step = self._config, self.progress.step
        number = config.seed + step * self._fabric.world_size + self._fabric.global_rank
        seen = disturbed(images, config.data.disturb, seed=number)
        if self._distillation:
            found = self._model(seen)
            with self._fabric.autocast():
                wanted = self._distillation.teach(images)
            return self._distillation(found, wanted), 0.0
        # Logarithms of sums of exponentials: in half precision beta = 50 would overflow.
        return self._loss(self._model(seen).float(), labels)

    def _count(self, loss: float, mined: float, images: int, took: float, bar: Any) -> None:
        progress = self.progress
        figures = {
            'loss': loss,
            'mined_share': mined,
            'lr': self._rate_of(progress.step),
            'images_per_s': images * self._fabric.world_size / took,
        }
        if self._steps:
            self._steps.write(step=progress.step, epoch=progress.epoch, **figures)
        self._log({f'step/{name}': value for name, value in figures.items()}, progress.step)
        progress.batch, progress.step = progress.batch + 1, progress.step + 1
        progress.done += self._fabric.world_size
        progress.loss_sum += loss
        progress.mined_sum += mined
        progress.seconds += took
        bar.set_postfix_str(
            f'loss {progress.loss_sum / progress.batch:.3f}, mined {mined:.0%}, '
            f'{figures["images_per_s"]:.0f} images/s',
            refresh=False,
        )
        bar.update()

    def _rate_of(self, step: int) -> float:
        """The learning rate of a step of the running epoch, with its warm-up."""
        warm = schedules.warm_up_factor(step, self._config.scheduler.warmup_steps)
        return schedules.learning_rate(self.optimizer) * warm

    def _end_epoch(self) -> None:
        self._require_sound()
        progress = self.progress
        loss = progress.loss_sum / max(progress.batch, 1)
        row = {
            'epoch': progress.epoch + 1,
            'loss': loss,
            'mined_share': progress.mined_sum / max(progress.batch, 1),
            'lr': self._rate_of(progress.step - 1),
            'seconds': progress.seconds,
        }
        due = (progress.epoch + 1) % self._config.validation.every == 0
        # Without a set the loss judges, which is there at every epoch.
        judged = due or self._is_last() or not self._validation.sets
        if self._validation.sets and judged:
            self._save_last()  # validation may take longer than the epoch
            row |= self._validate()
        schedules.step_epoch(self.scheduler, loss)
        improved = judged and self._is_best(row)
        progress.history.append(row)
        self._log({f'epoch/{name}': value for name, value in row.items()}, progress.step)
        progress.epoch, progress.batch, progress.done = progress.epoch + 1, 0, 0
        progress.loss_sum = progress.mined_sum = progress.seconds = 0.0
        if self._writes:
            self._folder.write_epochs(progress.history)
        if improved:
            self._save(self._folder.best)
        self._save_last()

    def _validate(self) -> dict[str, float]:
        """R@1 and R@5 of each set, by the first process; the others wait."""
        if not self._validation.sets:
            return {}
        found: dict[str, float] = {}
        if self._fabric.is_global_zero:
            recalls = self._validation.measure(
                self._plain, self._fabric.device, between=self._stop_alone
            )
            for name, recall in recalls.items():
                found |= {f'{name}/R@{n}': recall.at[n] for n in (1, 5)}
        return dict(self._fabric.broadcast(found))

    def _is_best(self, row: Mapping[str, float]) -> bool:
        sets, progress = self._validation.sets, self.progress
        score = row[f'{sets[0].name}/R@1'] if sets else -row['loss']
        if progress.best is not None and score <= progress.best:
            progress.worse += 1
            return False
        progress.best, progress.best_epoch, progress.worse = score, int(row['epoch']), 0
        return True

    def _is_last(self) -> bool:
        """Whether no epoch follows the running one.

        Steps are counted, for epochs that were done before may have had other batches.
        """
        progress, steps = self.progress, self._config.steps
        return progress.step >= steps if steps else progress.epoch + 1 >= self._config.epochs

    def _is_over(self) -> bool:
        progress, steps = self.progress, self._config.steps
        if steps:
            return progress.step >= steps and not progress.batch  # else an epoch is not ended
        return progress.epoch >= self._config.epochs

    def _exhausted(self) -> bool:
        return bool(self._config.patience) and self.progress.worse >= self._config.patience

    @property
    def _writes(self) -> bool:
        return bool(self._fabric.is_global_zero)

    def _save_last(self) -> None:
        if self._steps:
            self._steps.flush()
        self._save(self._folder.last)

    def _save(self, path: Any) -> None:
        if self._writes:
            self._folder.save(path, self.checkpoint())

    def _save_and_stop(self) -> None:
        self._require_sound()
        self._save_last()
        raise self._stopped()

    def _stop_alone(self) -> None:
        """End a run that is told to stop and saved; with several processes, others would wait."""
        if self._stop and self._fabric.world_size == 1:
            raise self._stopped()

    def _stopped(self) -> KeyboardInterrupt:
        """What ends a run that is saved, and says how to go on."""
        progress, folder = self.progress, self._folder.folder
        return KeyboardInterrupt(
            f'stopped after batch {progress.batch} of epoch {progress.epoch + 1}; the run '
            'is saved; continue with: python -m vpr_training.train --resume '
            f'{shlex.quote(str(folder))}'
        )

    @contextmanager
    def _told_to_stop(self) -> Iterator[None]:
        """Inside, the first SIGINT or SIGTERM lets the batch end; a second Ctrl-C ends at once.

        A second SIGTERM does not: one often comes from the service manager and one from whoever
        started the trainer.
        """

        def stop(number: int, frame: Any) -> None:
            if self._stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop = True

        old = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _bar(self) -> Any:
        progress, world = self.progress, self._fabric.world_size
        total = progress.batch + (len(self._batches) * world - progress.done) // world
        if self._config.steps:
            total = min(total, progress.batch + max(self._config.steps - progress.step, 0))
        return tqdm(
            total=total,
            initial=progress.batch,
            desc=f'epoch {progress.epoch + 1}/{max(self._epochs, progress.epoch + 1)}',
            unit='batch',
            disable=None if self._writes else True,
        )


def _random_state() -> dict[str, Any]:
    held: dict[str, Any] = {'torch': torch.get_rng_state()}
    if torch.cuda.is_available():
        held['cuda'] = torch.cuda.get_rng_state_all()
    return held


def _set_random_state(held: Mapping[str, Any]) -> None:
    torch.set_rng_state(held['torch'])
    if 'cuda' in held and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(held['cuda'][: torch.cuda.device_count()])
