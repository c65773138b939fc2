"""A reward model in many replicas behind one address, by Ray Serve.

    pip install 'plaudit[serve]' 'ray[serve]'
    serve run examples.ray_serve:application model=/shared/runs/first replicas=4 gpus=1

Ray Serve (2.60) starts replicas on a cluster, each with a model and a GPU of its own, starts those
anew that fail, and passes requests on to them, at http://HOST:8000. Each replica is the service of
`plaudit serve`: the same endpoints, batches, limits and refusals. The folder of the model must be
where every node sees it; keys are those of `PLAUDIT_API_KEYS`. `/metrics` and the pages are those
of any one replica.
"""

from ray import serve

from plaudit import PlauditError, RewardModel
from plaudit.serving.app import build_app
from plaudit.serving.settings import ServiceSettings, read_keys

# Requests of one replica at a time: Ray Serve's own limit, 5, leaves its batches empty.
MOST_AT_ONCE = 256


def application(args: dict[str, str]) -> serve.Application:
    """What `serve run` deploys; `args` are its `key=value`: model, replicas, gpus, cpus, name."""
    known = {"model", "replicas", "gpus", "cpus", "name"}
    if "model" not in args or set(args) - known:
        raise PlauditError(f"give model=…, and of {', '.join(sorted(known))} what you like")
    model = args["model"]
    settings = ServiceSettings(name=args.get("name", "plaudit"), keys=read_keys())
    gpus = float(args.get("gpus", 0))
    made = {}

    def app() -> object:
        """Called in each replica."""
        made["app"] = build_app(RewardModel.load(model), settings)
        return made["app"]

    @serve.deployment(
        num_replicas=int(args.get("replicas", 1)),
        max_ongoing_requests=MOST_AT_ONCE,
        ray_actor_options={"num_gpus": gpus, "num_cpus": float(args.get("cpus", 1))},
    )
    @serve.ingress(app)
    class Rewards:
        def check_health(self) -> None:
            """Asked by Ray Serve, which starts a replica anew that raises."""
            if failed := made["app"].state.service.batcher.failed:
                raise RuntimeError("the service has failed") from failed

    return Rewards.bind()
