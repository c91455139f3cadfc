"""What users of KServe's inference clients do, over REST (V1 and V2) and gRPC. Reads what to expect as JSON from stdin.

Runs in an environment of its own and knows nothing of the project; prints the name of each check that held.
"""

import asyncio
import json
import logging
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig


def request(asked, raw, request_id=None, model=None, **options):
    values = np.array(asked["rows"])
    entry = InferInput("x", list(values.shape), "FP64", None if raw else values.ravel().tolist())
    if raw:
        entry.set_data_from_numpy(values, binary_data=True)
    return InferRequest(model or asked["model"], [entry], request_id=request_id, **options)


def holds(asked, response):
    """Whether a response has the labels and probabilities that were asked for."""
    label, probabilities = (response.get_output_by_name(name).as_numpy() for name in ("label", "probabilities"))
    assert np.asarray(label).tolist() == asked["labels"], label
    np.testing.assert_allclose(np.asarray(probabilities), asked["probabilities"], atol=1e-6)


async def rest(asked):
    url, model = f"http://{asked['http']}", asked["model"]
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_ready(url) and await client.is_server_live(url)
    assert await client.is_model_ready(url, model)
    print("rest health")
    for raw in (False, True):
        for binary in (False, True):
            parameters = {"binary_data_output": True} if binary else None
            holds(asked, await client.infer(url, request(asked, raw, parameters=parameters), model_name=model))
    answer = await client.infer(url, request(asked, False, "order-9"), model_name=model)
    assert answer.id == "order-9"
    print("rest tensors, binary and JSON both ways")
    try:
        await client.infer(url, {"inputs": []}, model_name=model)
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 400 and "inputs: expected a list of tensors" in str(error), error
    else:
        raise AssertionError("not refused")
    await client.close()
    print("rest refusals")
    client = InferenceRESTClient(RESTConfig(protocol="v1"))
    answer = await client.infer(url, {"instances": asked["rows"]}, model_name=model)
    assert answer == {"predictions": asked["labels"]}, answer
    assert await client.is_model_ready(url, model)
    await client.close()
    print("rest V1")


async def over_grpc(asked):
    client = InferenceGRPCClient(asked["grpc"], retries=0)
    assert await client.is_server_ready() and await client.is_server_live()
    assert await client.is_model_ready(asked["model"])
    print("grpc health")
    for raw in (False, True):
        answers = await asyncio.gather(*(client.infer(request(asked, raw, f"order-{i}")) for i in range(8)))
        for i, answer in enumerate(answers):
            holds(asked, answer)
            assert (answer.id, answer.model_version) == (f"order-{i}", asked["version"])
    print("grpc tensors, typed and raw")
    try:
        await client.infer(request(asked, True, model="nobody"))
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND and "nobody" in error.details(), error
    else:
        raise AssertionError("not refused")
    await client.close()
    print("grpc refusals")


async def main():
    logging.disable(logging.CRITICAL)  # the client prints what it then raises
    asked = json.load(sys.stdin)
    await rest(asked)
    await over_grpc(asked)


if __name__ == "__main__":
    asyncio.run(main())
