"""A host of large files (giftless) on a port of its own: prints the port, and serves until its input ends."""

import os
import sys
import threading

from giftless.app import init_app
from werkzeug.serving import make_server

folder, key = sys.argv[1:3]
jwt = {"algorithm": "HS256", "private_key": key}
app = init_app(
    additional_config={
        "AUTH_PROVIDERS": [{"factory": "giftless.auth.jwt:factory", "options": dict(jwt)}],
        # Signs the addresses that it gives out.
        "PRE_AUTHORIZED_ACTION_PROVIDER": {"factory": "giftless.auth.jwt:factory", "options": dict(jwt)},
        "LEGACY_ENDPOINTS": False,
        "TRANSFER_ADAPTERS": {
            "basic": {
                "factory": "giftless.transfer.basic_streaming:factory",
                "options": {
                    "storage_class": "giftless.storage.local_storage:LocalStorage",
                    "storage_options": {"path": folder},
                    "action_lifetime": 900,
                },
            }
        },
    }
)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
os._exit(0)
