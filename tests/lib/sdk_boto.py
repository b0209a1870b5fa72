"""boto3, called by tests: as sdk_kms.mjs, with the Python that boto3 is installed for: python sdk_boto.py CA ENDPOINT."""
import base64
import datetime
import json
import os
import re
import sys

import boto3
import botocore.config
import botocore.exceptions

ca, endpoint = sys.argv[1:]
attempts = int(os.environ.get("SDK_ATTEMPTS", 1))
client = boto3.client("kms", endpoint_url=endpoint, verify=ca, region_name=os.environ["AWS_REGION"],
                      config=botocore.config.Config(retries={"total_max_attempts": attempts}))


def from_json(value):
    return base64.b64decode(value["bytes"]) if set(value) == {"bytes"} else value


def to_json(value):
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(value)


def call(command, input):
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", command).lower()
    try:
        answer = getattr(client, method)(**input)
        metadata = answer.pop("ResponseMetadata")
        return {"answer": answer, "requestId": metadata["RequestId"], "attempts": metadata["RetryAttempts"] + 1}
    except botocore.exceptions.ClientError as error:
        metadata = error.response["ResponseMetadata"]
        return {"error": error.response["Error"]["Code"], "message": error.response["Error"]["Message"], "status": metadata["HTTPStatusCode"],
                "attempts": metadata.get("RetryAttempts", 0) + 1}
    except Exception as error:  # what is tested is that it is one
        return {"error": type(error).__name__, "message": str(error)}


for line in sys.stdin:
    print(json.dumps(call(**json.loads(line, object_hook=from_json)), default=to_json), flush=True)
