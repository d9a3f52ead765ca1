"""Records made by hand, for the tests of what is judged and shown."""

from cnnprec.precision.precisions import PRECISIONS
from cnnprec.records.record import DataInfo, Environment, Outcome, Record, Round, TrainingRun
from cnnprec.workload.profiles import TrainingConfig

CONFIG = TrainingConfig(
    "test", train_samples=320, test_samples=100, epochs=2, runs=2, batch_size=32
)
ENVIRONMENT = Environment(
    device_kind="cpu",
    device_model="Some CPU",
    device_count=2,
    device_memory_bytes=None,
    cpu_model="Some CPU",
    cpu_features=("avx2",),
    usable_cores=2,
    system="Linux",
    architecture="x86_64",
    kernel="6.1",
    python="3.11.7",
    numpy="2.4.6",
    keras="3.15.1",
    tensorflow="2.21.0",
    cuda=None,
    cudnn=None,
    driver=None,
    vbios=None,
    power_limit_watts=None,
    mig_mode=None,
    onednn=False,
    intra_op_threads=0,
    inter_op_threads=0,
    op_determinism=False,
    code="0123456789ab",
    commit=None,
)


def a_round(seconds=1.0, *, outcome=Outcome.TRAINED, accuracy=0.9, loss=0.5, **fields) -> Round:
    run = TrainingRun(
        **{
            "seed": 12,
            "outcome": outcome,
            "losses": (2.0, loss),
            "first_losses": (2.3,),
            "test_accuracy": accuracy,
            "first_bad_step": None,
            "loss_scales": (),
            "weights_sha256": "0" * 64,
            **fields,
        }
    )
    return Round(run, seconds, None if seconds is None else seconds * 2, 800_000_000)


def record(precision="single", rounds=(), **fields) -> Record:
    return Record(
        **{
            "precision": PRECISIONS[precision],
            "config": CONFIG,
            "data": DataInfo("fashion-mnist", "/data", "ab" * 32),
            "environment": ENVIRONMENT,
            "companions": (),
            "jit_compiled": False,
            "warm_up_seconds": 1.5,
            "rounds": rounds or (a_round(1.0), a_round(3.0)),
            **fields,
        }
    )
